"""What the default model keeps of a series: one row of float32, beside a float64 anchor and an int64 last time.

state float32 (WIDTH,): the profile of `season`, then the numbers below. Means and profile are in the unit of the values,
relative to the anchor, because float32 could not hold a small change of a large number; the spread is a mean absolute
deviation in that unit; tails are pairs (quantile, mean excess) as in `tail`. NaN: not known yet. Last time in ms, 0: never.
"""

import math

import numpy as np

from anomaly.compiled import bare
from anomaly.detect import season
from anomaly.detect.season import DAY, WEEK

(
    N,  # points learned
    PRIOR,  # points that the donor's state is worth
    LEARNED,  # seconds
    INTERVAL,  # seconds between points
    MEAN,  # slow mean
    REST,  # of the slow mean: what float32 could not add to it yet
    SPREAD,  # mean absolute residual
    ROUGH,  # mean absolute change from point to point
    PREVIOUS,  # the value before
    QUANTUM,  # smallest change seen, negative while seen once
    NEGATIVE,  # 1: the value was below zero once
    DAY_AGE,
    WEEK_AGE,
    FAST,  # mean over half an hour
    LOW,  # of the range of FAST
    HIGH,
    MEDIUM,  # mean over hours
    TAIL_SEASON,  # quantile, then mean excess
    _A,
    TAIL_RANGE,
    _B,
    TAIL_LEVEL,
    _C,
    RUN,  # surprise added up over a run of points on one side, with its sign
    BLOCK_PEAK,  # greatest score of the block that is going on
    BLOCK_AGE,  # seconds
    BLOCK_MEAN,  # mean of the blocks' greatest scores, less what chance gives
    BLOCKS,
    TAIL_SUDDEN,
    _D,
) = range(DAY + WEEK, DAY + WEEK + 30)
WIDTH = DAY + WEEK + 30


DONATED = 20.0  # points that a donor's state is worth
# Tails before anything is known, wider than a Gaussian's 2.75 and 0.45, and for the range, which is rarely left, small.
USUAL_SEASON, USUAL_RANGE, USUAL_LEVEL, USUAL_SUDDEN = (2.9, 0.8), (0.05, 0.08), (2.9, 0.8), (2.9, 0.8)
# Below these no tail shrinks, however quiet the series has been.
LEAST_SEASON, LEAST_RANGE, LEAST_LEVEL, LEAST_SUDDEN = (1.5, 0.3), (0.02, 0.02), (2.0, 0.5), (2.0, 0.5)


@bare
def blank(state):  # type: ignore[no-untyped-def]
    """A row that knows nothing."""
    state[:] = np.nan
    state[N : LEARNED + 1] = 0.0
    state[TAIL_SEASON], state[TAIL_SEASON + 1] = USUAL_SEASON
    state[TAIL_RANGE], state[TAIL_RANGE + 1] = USUAL_RANGE
    state[TAIL_LEVEL], state[TAIL_LEVEL + 1] = USUAL_LEVEL
    state[TAIL_SUDDEN], state[TAIL_SUDDEN + 1] = USUAL_SUDDEN
    for at in (REST, SPREAD, ROUGH, QUANTUM, NEGATIVE, RUN, BLOCK_PEAK, BLOCK_AGE, BLOCK_MEAN, BLOCKS, INTERVAL):
        state[at] = 0.0


@bare
def borrow(state):  # type: ignore[no-untyped-def]
    """Turn a copy of a donor's row into a prior: its shape, wider, worth a few points, with nothing learned of its own."""
    state[PRIOR] = 0.0 if math.isnan(state[MEAN]) else DONATED
    state[N] = state[LEARNED] = state[RUN] = state[BLOCK_PEAK] = state[BLOCK_AGE] = 0.0
    state[SPREAD] *= 1.5
    for at in (TAIL_SEASON, TAIL_RANGE, TAIL_LEVEL, TAIL_SUDDEN):
        state[at + 1] *= 1.3


@bare
def begin(state, time):  # type: ignore[no-untyped-def]
    """The first value of a row is its anchor: everything relative to it is zero."""
    for at in (MEAN, PREVIOUS, FAST, LOW, HIGH, MEDIUM):
        state[at] = 0.0
    state[season.day_bucket(time)] = state[season.week_bucket(time)] = 0.0
    state[DAY_AGE] = state[WEEK_AGE] = 1.0
    state[N] = 1.0
