"""The packed profile against a plain dictionary of floats."""

import math

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from anomaly.compiled import kernel
from anomaly.detect import season
from anomaly.detect.layout import MODEL
from anomaly.detect.season import DAY, EMPTY, WEEK

BUCKETS = st.integers(0, DAY + WEEK - 1)
MEANS = st.floats(-1e9, 1e9, width=32) | st.floats(-1.0, 1.0, width=32)


@kernel
def store(rows, bucket, mean):
    season.store(rows[0], bucket, mean)


@kernel
def shift(rows, by):
    season.shifted(rows[0], by)


@kernel
def read(rows, bucket):
    return season.read(rows[0], bucket)


def empty() -> np.ndarray:
    """One row whose buckets were never visited."""
    rows = np.zeros(1, MODEL)
    rows["profile"] = EMPTY
    return rows


@settings(deadline=None)  # the first example compiles
@example([(0, 0.0), (0, 0.193)])  # zeros must not choose the steps of what comes after them
@given(st.lists(st.tuples(BUCKETS, MEANS), max_size=60))
def test_a_profile_keeps_every_mean_to_a_ten_thousandth_of_its_greatest(stored: list[tuple[int, float]]):
    """Of the greatest that it ever held, whatever was stored before; what was never visited is not known."""
    rows, plain, most = empty(), {}, 0.0
    for bucket, mean in stored:
        store(rows, bucket, mean)
        plain[bucket], most = mean, max(most, abs(mean))
    for bucket in range(DAY + WEEK):
        if bucket not in plain:
            assert math.isnan(read(rows, bucket))
        else:
            assert abs(read(rows, bucket) - plain[bucket]) <= 1e-4 * most + 1e-30


@settings(deadline=None)  # the first example compiles
@given(st.floats(1e3, 1e12), st.lists(st.floats(-1.0, 1.0, width=32), min_size=90, max_size=90))
def test_once_the_greatest_is_gone_the_profile_is_fine_again(most: float, means: list[float]):
    """One half-hour of a billion does not blunt the days after it."""
    rows = empty()
    store(rows, 7, most)
    for bucket, mean in enumerate(means):
        store(rows, bucket, mean)
    for bucket, mean in enumerate(means):
        store(rows, bucket, mean)
    for bucket, mean in enumerate(means):
        assert abs(read(rows, bucket) - mean) <= 1e-3 * max(abs(m) for m in means) + 1e-30


@settings(deadline=None)  # the first example compiles
@given(st.lists(st.floats(-1.0, 1.0, width=32), min_size=5, max_size=5), st.floats(-1e6, 1e6, width=32))
def test_a_shift_moves_all_means_alike(means: list[float], by: float):
    """To the steps that either side needs."""
    rows = empty()
    for bucket, mean in enumerate(means):
        store(rows, bucket, by + mean)
    shift(rows, by)
    for bucket, mean in enumerate(means):
        assert abs(read(rows, bucket) - mean) <= 2e-4 * (abs(by) + 1.0)


@settings(deadline=None)  # the first example compiles
@given(st.integers(0, 2_000_000_000_000), st.integers(0, 10 * season.WEEK_MS))
def test_a_visit_that_goes_on_is_in_the_same_buckets(time: int, later: int):
    """And where no more than a half-hour passed, another half-hour is another bucket of the day."""
    if season.goes_on(time, time + later):
        assert season.day_bucket(time) == season.day_bucket(time + later)
        assert season.week_bucket(time) == season.week_bucket(time + later)
    elif later <= season.HALF_HOUR:
        assert season.day_bucket(time) != season.day_bucket(time + later)
