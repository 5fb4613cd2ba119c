"""Exponential histograms against the numbers they were made of."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.metrics.v1.metrics_pb2 import ExponentialHistogramDataPoint

from anomaly.decode.exponential import BOUNDS, canonical

numbers = st.lists(st.floats(1e-9, 1e15), max_size=30)


def recorded(values: list[float], scale: int, zeros: int = 0, negative: int = 0) -> ExponentialHistogramDataPoint:
    """What a sender at `scale` makes of values, by the definition: bucket i holds (base**i, base**(i+1)]."""
    point = ExponentialHistogramDataPoint(scale=scale, zero_count=zeros, count=len(values) + zeros + negative)
    index = [math.ceil(math.log2(v) * 2.0**scale) - 1 for v in values]
    if index:
        point.positive.offset = min(index)
        point.positive.bucket_counts.extend(np.bincount(np.array(index) - min(index)).tolist())
    if negative:
        point.negative.offset = 3
        point.negative.bucket_counts.extend([1] * negative)
    return point


@given(numbers, st.integers(-4, 8))
@settings(max_examples=150, deadline=None)
def test_every_value_lies_in_the_bucket_that_numpy_puts_it_in(values: list[float], scale: int):
    edge = [math.log2(v) * 2.0 ** min(scale, 1) for v in values]
    values = [v for v, e in zip(values, edge, strict=True) if abs(e - round(e)) > 1e-6]  # log2 is not exact on a bound
    bounds, counts = canonical(recorded(values, scale))
    expected = np.bincount(np.searchsorted(bounds, values, side="left"), minlength=len(bounds) + 1)
    np.testing.assert_array_equal(counts, expected)


@given(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**31), 2**31 - 1), st.lists(st.integers(0, 2**64 - 1), max_size=5))
@settings(max_examples=150, deadline=None)
def test_no_count_is_lost_at_any_scale_and_offset(scale: int, offset: int, held: list[int]):
    point = ExponentialHistogramDataPoint(scale=scale, zero_count=2)
    point.positive.offset = offset
    point.positive.bucket_counts.extend(held)
    point.negative.bucket_counts.extend([1, 4])
    bounds, counts = canonical(point)
    assert len(counts) == len(bounds) + 1
    np.testing.assert_allclose(sum(counts), 7.0 + sum(map(float, held)))


def test_bounds_stay_while_a_sender_lowers_its_scale_and_deltas_are_whole_counts():
    """The same values at scale 20, 3 and 1 are the same buckets, to the bit."""
    values = [0.0123, 0.5, 0.7, 3.14, 900.0]
    made = [canonical(recorded([v], 20)) for v in values]
    for scale in (3, 2, 1):
        bounds, counts = canonical(recorded(values, scale))
        assert bounds == made[0][0]
        np.testing.assert_array_equal(counts, np.sum([c for _, c in made], axis=0))


def test_a_coarser_sender_has_a_subset_of_the_bounds_and_no_more_than_130_buckets():
    assert all(set(BOUNDS[s]) < set(BOUNDS[s + 1]) for s in range(-6, 1))
    assert len(BOUNDS[1]) == 129
    np.testing.assert_allclose(BOUNDS[1], 2.0 ** np.arange(-20, 44.5, 0.5), rtol=1e-15)
    assert BOUNDS[-6] == (1.0,)


def test_a_quantile_is_right_to_a_bucket_of_a_factor_of_the_root_of_two():
    values = np.sort(np.random.default_rng(1).lognormal(-3, 1, 5000))
    bounds, counts = canonical(recorded(values.tolist(), 5))
    for q in (0.5, 0.95, 0.99):
        bucket = int(np.searchsorted(np.cumsum(counts), q * len(values)))
        assert bounds[bucket - 1] <= values[int(q * len(values))] <= bounds[bucket] * 1.0001


def test_zeros_and_negative_values_are_below_the_first_bound():
    bounds, counts = canonical(recorded([1.5], 1, zeros=3, negative=2))
    assert counts[0] == 5.0
    assert counts[bounds.index(2.0)] == 1.0
    assert sum(counts) == 6.0
