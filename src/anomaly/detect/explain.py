"""A score taken apart: what each statistic of the default model says, and what holds it back; what the absence of traffic
says beside; and k of n likewise.

`part_point` reads a row as `layout` has it and calls what `adaptive.judge_point` calls, in its order; it changes nothing.
`recombined` puts the parts together in plain Python, and a test holds the sum against the score that the kernel gives, on
any row: so that neither can change without the other.
Values are in the unit of the series; scores are -log10 of a probability; NaN where the row knows nothing at all.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly.compiled import bare, kernel
from anomaly.detect import adaptive, counts, learn, season, tail
from anomaly.detect.adaptive import FEW_SPREAD, KNOWN, OWN, REPEATED
from anomaly.detect.layout import LEAST_LEVEL, LEAST_RANGE, LEAST_SEASON, LEAST_SUDDEN, points

STATISTICS = ("season", "range", "level", "sudden")


class Parts(NamedTuple):
    """What makes a score, before the point was learned. The statistics come in the order of STATISTICS."""

    expected: float
    day: float  # what the half-hour of the day expects, NaN without a season
    week: float  # and the four hours of the week
    low: float  # the expected band
    high: float
    spread: float  # what a deviation is measured by
    least_spread: float  # the smallest worth the name
    few: float  # factor by which the spread was widened, because it is known of so few points
    step: float  # what a sudden change is measured by
    points: float  # that the row's knowledge is worth
    own: float  # of these its own
    learned: float  # seconds
    looks: float  # independent ones
    season: float  # the statistics: in spreads, in ranges, in spreads, in steps
    range: float
    level: float
    sudden: float
    usual_season: float  # what one point in 36 exceeds
    usual_range: float
    usual_level: float
    usual_sudden: float
    tail_season: float  # what each says by its own tail
    tail_range: float
    tail_level: float
    tail_sudden: float
    said_season: float  # the same, as far as so many looks allow
    said_range: float
    said_level: float
    said_sudden: float
    run: float  # what points before on the same side add
    repeated: float  # what the series does all the time, and is taken off


NOTHING = (math.nan,) * 9 + (0.0,) * 4 + (math.nan,) * (len(Parts._fields) - 13)  # of a row that has seen no point


@bare
def part_point(state, row, time, value, seasonal):  # type: ignore[no-untyped-def]
    """The parts of the score that a point would get now, as a `Parts` without its name."""
    s = state[row]
    if points(s) == 0.0:
        return NOTHING
    y = min(max(value - s.anchor, -adaptive.FAR), adaptive.FAR)
    dt = adaptive.duration(s, time)
    level, n = adaptive.expected(s, time, y, seasonal), points(s)
    share, young, few = learn.shares(dt), 1.0 / (n + 1.0), 1.0 + FEW_SPREAD / n
    least = adaptive.floor(s, s.anchor + level)
    spread, step, flat = max(s.spread * few, least), max(s.rough * few, least), s.spread < adaptive.FLAT * least
    fast = adaptive.moved(s.fast, y, dt, max(share.fast, young))
    medium = adaptive.moved(s.medium, y, dt, max(share.medium, young))
    va, vb, vc, vd = (
        abs(y - level) / spread,
        adaptive.novelty(s, fast),
        abs(medium - s.mean) / spread,
        abs(y - s.fast) / step,
    )
    looks = n * adaptive.independence(s)
    a, b, c, d = adaptive.surprises(s, va, vb, vc, vd, looks, flat)
    run = adaptive.run_before(s, a, 1.0 if y >= level else -1.0, flat)
    low, high = adaptive.band(s, s.anchor + level, spread, s.season_quantile, s.season_excess, LEAST_SEASON)
    near = adaptive.band(s, s.anchor + s.fast, step, s.sudden_quantile, s.sudden_excess, LEAST_SUDDEN)
    raw = adaptive.combined(a, b, c, d) + run
    if low <= value <= high and adaptive.SUDDEN_SHARE * d >= raw - run:
        low, high = near
    day, week = math.nan, math.nan
    if seasonal:
        day, week = float(s.day), float(s.week)
        if not season.goes_on(time, s.last):
            day, week, _ = season.elsewhere(s, time, s.last)
    return (
        s.anchor + level, s.anchor + day, s.anchor + week, low, high, spread, least, few, step, float(n), float(s.n),
        float(s.learned), looks, va, vb, vc, vd,
        max(s.season_quantile, LEAST_SEASON[0]), max(s.range_quantile, LEAST_RANGE[0]),
        max(s.level_quantile, LEAST_LEVEL[0]), max(s.sudden_quantile, LEAST_SUDDEN[0]),
        tail.surprise(va, s.season_quantile, s.season_excess, LEAST_SEASON),
        tail.surprise(vb, s.range_quantile, s.range_excess, LEAST_RANGE),
        tail.surprise(vc, s.level_quantile, s.level_excess, LEAST_LEVEL),
        tail.surprise(vd, s.sudden_quantile, s.sudden_excess, LEAST_SUDDEN),
        a, b, c, d, run, REPEATED * max(s.block_mean, 0.0),
    )  # fmt: skip


@kernel
def part(state, row, time, value, seasonal):  # type: ignore[no-untyped-def]
    """`part_point`, for Python."""
    return part_point(state, row, time, value, seasonal)


def parts_of(state: NDArray[np.void], row: int, time: int, value: float, seasonal: bool) -> Parts:
    """The parts of the score that a point would get now."""
    return Parts(*part(state, row, time, value, seasonal))


def recombined(p: Parts) -> float:
    """The score that the parts make; NaN where not enough is known."""
    if not is_known(p):
        return math.nan
    return max(leading(p)[1] + p.run - p.repeated, 0.0)


def is_known(p: Parts) -> bool:
    """Whether the row knows enough to say something."""
    return p.points >= KNOWN and p.own >= OWN


def leading(p: Parts) -> tuple[str, float]:
    """Which of the statistics speak for the point, and what they say together: only the most telling counts."""
    says = [
        ("season and range" if p.said_range else "season", adaptive.combined(p.said_season, p.said_range, 0.0, 0.0)),
        ("level", adaptive.combined(0.0, 0.0, p.said_level, 0.0)),
        ("sudden", adaptive.combined(0.0, 0.0, 0.0, p.said_sudden)),
    ]
    return max(says, key=lambda each: each[1])


class Loss(NamedTuple):
    """What the absence of traffic says beside the statistics of a rate; 0 and NaN where it says nothing."""

    lost: float  # of what is usual by the band
    gone: float  # of what always comes at this time of day
    low: float  # the rates that are usual then
    high: float
    cell: float  # seconds that the rate speaks for


@kernel
def gone_part(state, row, neighbour, time, value):  # type: ignore[no-untyped-def]
    """What stays away at this time of day: the score, the usual rates (low, high), and the seconds that count."""
    s = state[row]
    cell = min((time - s.last) / 1000.0, 1.5 * s.interval)
    score, low, high = counts.gone(state[neighbour], time, value, cell)
    return score, low, high, cell


def with_loss(p: Parts, loss: Loss) -> tuple[float, float, float]:
    """(score, low, high) of a rate of events, whichever part says more."""
    score, low, high = recombined(p), *((p.low, p.high) if is_known(p) else (math.nan, math.nan))
    score = max(score, loss.lost)  # NaN, where the first is
    return (loss.gone, loss.low, loss.high) if loss.gone > score else (score, low, high)


class RatioParts(NamedTuple):
    """What makes the score of k errors of n events, of which some may have waited in cells before."""

    errors: float
    events: float
    usual: float  # share of errors
    worth: float  # events that what was learned is worth
    cell: float  # what these errors say
    errors_longer: float
    events_longer: float
    window: float  # what a longer time says
    hours: float  # 1: five minutes bring too few events, and both are the last hour or two
    bad: float  # 1: the share is a fault whatever was usual


@kernel
def ratio_part(ratios, slot, time, k, n, fewest, bad, bad_events):  # type: ignore[no-untyped-def]
    """The parts of the score that a cell would get now; changes the row, as judging does: for a copy."""
    row = ratios[slot]
    a, b = counts.believed(row)
    if time <= row.last or n <= 0.0:  # it says nothing
        return 0.0, 0.0, a / (a + b), a + b, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    counts.take(row, time, k, n)
    faulty = counts.is_bad(row, k, n, bad, bad_events)
    hours = row.n5 < fewest <= row.n60
    k, n, longer_k, longer_n = counts.evidence(row, fewest)
    a, b = counts.believed(row)
    cell, window = counts.surprise(k, n, a, b), counts.surprise(longer_k, longer_n, a, b)
    return (
        k, n, a / (a + b), a + b, cell, longer_k, longer_n, window, 1.0 if hours else 0.0, 1.0 if faulty else 0.0
    )  # fmt: skip


def ratio_parts_of(
    ratios: NDArray[np.void], slot: int, cell: tuple[int, float, float], limits: tuple[float, float, float]
) -> RatioParts:
    """The parts of the score of a cell; `limits`: fewest events, bad, of how many."""
    return RatioParts(*ratio_part(ratios[slot : slot + 1].copy(), 0, *cell, *limits))


def recombined_ratio(p: RatioParts, fewest: float) -> float:
    """The score that the parts make; NaN of too few events."""
    if p.events < fewest and not p.bad:
        return math.nan
    return min(max(p.cell, p.window), counts.SUREST) if p.cell > 0.0 else 0.0
