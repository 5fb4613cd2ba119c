"""The promises that every model keeps, whatever it is. A model is added by one entry in MODELS."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from anomaly.detect.bank import Bank

T0 = 1_767_225_600_000  # 2026-01-01T00:00:00Z
KNOWN_AFTER = 20  # points by which every model says something


@dataclass(slots=True)
class Columns:
    """Points in arrival order."""

    row: NDArray[np.int32]
    time: NDArray[np.int64]
    value: NDArray[np.float64]

    def part(self, index: slice | NDArray[np.bool_]) -> "Columns":
        return Columns(self.row[index], self.time[index], self.value[index])


class Adaptive:
    """The default model, as the promises see a model."""

    def __init__(self, rows: int = 4) -> None:
        self.bank = Bank()
        self.bank.ensure(rows)

    def learn(self, points: Columns) -> NDArray[np.float64]:
        """Scores of the points, each taken before it was learned."""
        ones = np.ones(points.row.size)
        return self.bank.judge(points.row, points.time, points.value, ones, 0 * ones).score

    def score(self, points: Columns) -> NDArray[np.float64]:
        return self.bank.score(points.row, points.time, points.value, np.ones(points.row.size)).score

    def state(self) -> bytes:
        return self.bank.to_bytes()

    def restored(self) -> "Adaptive":
        """A second model from the bytes of this one."""
        other = Adaptive(0)
        other.bank = Bank.from_bytes(self.state())
        return other

    def moved(self, rows: Sequence[int]) -> None:
        """Take rows out, forget them, and put them back."""
        data = self.bank.take(rows)
        for row in rows:
            self.bank.clear(row)
        self.bank.put(rows, data)

    def row(self, row: int) -> bytes:
        return self.bank.take([row])


MODELS: list[Callable[[], Adaptive]] = [Adaptive]
each_model = pytest.mark.parametrize("model", MODELS)


def noise(n: int, rows: int = 3, step: float = 1.0, seed: int = 1) -> Columns:
    """n points of each row, interleaved: a level and Gaussian noise of its own."""
    rng = np.random.default_rng(seed)
    row = np.tile(np.arange(rows, dtype=np.int32), n)
    time = np.repeat(T0 + (np.arange(n) * step * 1000).astype(np.int64), rows)
    return Columns(row, time, 100.0 * (1 + row) + rng.normal(0.0, 2.0, row.size))


def single(value: Sequence[float] | NDArray[np.float64], step: float = 1.0) -> Columns:
    """One row's points, `step` seconds apart."""
    values = np.asarray(value, float)
    return Columns(np.zeros(values.size, np.int32), T0 + (np.arange(values.size) * step * 1000).astype(np.int64), values)


@each_model
@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, 300), max_size=6))
def test_a_batch_equals_the_same_points_in_any_smaller_batches(model: Callable[[], Adaptive], cuts: list[int]):
    """Where a batch ends changes neither scores nor state."""
    points, whole, parts = noise(100), model(), model()
    edges = [0, *sorted(cuts), points.row.size]
    scores = [parts.learn(points.part(slice(a, b))) for a, b in itertools.pairwise(edges)]
    np.testing.assert_array_equal(whole.learn(points), np.concatenate(scores))
    assert whole.state() == parts.state()


@each_model
def test_scoring_changes_nothing(model: Callable[[], Adaptive]):
    """However often one looks."""
    m, points = model(), noise(100)
    m.learn(points)
    before = m.state()
    later = points.part(slice(-30, None))
    later.time = later.time + 60_000
    first, second = m.score(later), m.score(later)
    assert m.state() == before
    np.testing.assert_array_equal(first, second)


@each_model
def test_scoring_works_before_the_first_point_and_says_that_nothing_is_known(model: Callable[[], Adaptive]):
    """NaN is not known yet; a score is never negative."""
    m, points = model(), noise(60)
    assert np.isnan(m.score(points.part(slice(0, 3)))).all()
    score = m.learn(points)
    assert np.isnan(score[:3]).all()
    known = score[3 * KNOWN_AFTER :]
    assert (known >= 0.0).all()


@each_model
def test_state_does_not_grow_with_points(model: Callable[[], Adaptive]):
    """As many bytes after a thousand points as after one; at most 512 a series."""
    m, points = model(), noise(1000)
    m.learn(points.part(slice(0, 3)))
    size = len(m.state())
    m.learn(points.part(slice(3, None)))
    assert len(m.state()) == size
    assert len(m.row(0)) <= 512


@each_model
def test_state_round_trips_through_bytes_to_the_bit(model: Callable[[], Adaptive]):
    """And the restored model goes on as the first would have."""
    m, points = model(), noise(200)
    m.learn(points.part(slice(0, 300)))
    other = m.restored()
    assert other.state() == m.state()
    rest = points.part(slice(300, None))
    np.testing.assert_array_equal(other.learn(rest), m.learn(rest))
    assert other.state() == m.state()


@each_model
def test_taking_rows_out_and_putting_them_back_is_the_identity(model: Callable[[], Adaptive]):
    """A partition moves to another worker and back."""
    m = model()
    m.learn(noise(50))
    before = m.state()
    m.moved([2, 0])
    assert m.state() == before


@each_model
def test_a_redelivered_batch_teaches_nothing(model: Callable[[], Adaptive]):
    """Points not newer than their series' last are scored; the state stays as it was."""
    m, points = model(), noise(100)
    m.learn(points)
    before = m.state()
    again = m.learn(points.part(slice(150, None)))
    assert m.state() == before
    assert not np.isnan(again).any()


@each_model
@pytest.mark.parametrize("step", [1.0, 10.0, 60.0, 300.0])
def test_an_injected_step_ranks_above_the_noise(model: Callable[[], Adaptive], step: float):
    """The greatest score of ten series is where one of them steps by ten spreads, at every interval."""
    points = noise(400, rows=10, step=step)
    stepped = (points.row == 4) & (points.time >= T0 + 300 * step * 1000)
    points.value = points.value + 20.0 * stepped
    score = np.nan_to_num(model_of(model, 10).learn(points))
    assert stepped[np.argmax(score)]


def model_of(model: Callable[[], Adaptive], rows: int) -> Adaptive:
    """The model with enough rows."""
    made = model()
    made.bank.ensure(rows)
    return made


@each_model
def test_a_new_series_leaves_the_others_unchanged_to_the_bit(model: Callable[[], Adaptive]):
    """Nor does one that vanishes matter."""
    points = noise(200)
    alone, together = model(), model()
    together.learn(points.part(slice(0, 300)))
    together.learn(points.part(slice(300, None)).part(points.row[300:] != 1))
    alone.learn(points.part(points.row == 0))
    assert together.row(0) == alone.row(0)


@each_model
def test_a_constant_series_neither_alarms_for_ever_nor_goes_blind(model: Callable[[], Adaptive]):
    """Silent while constant; a lasting change scores high and finite, and is silent once usual; a leap that went back does
    not hide the next one."""
    lasting = model().learn(single(np.r_[np.full(600, 7.0), np.full(7200, 9.0)]))
    assert np.nanmax(lasting[:600]) == 0.0
    assert 6.0 <= lasting[600:620].max() < 50.0
    assert lasting[7000:].max() < 1.0
    leaps = model().learn(single(np.r_[np.full(600, 7.0), np.full(5, 9.0), np.full(7200, 7.0), np.full(30, 20.0)]))
    assert leaps[1000:7805].max() < 1.0
    assert 3.0 <= leaps[7805:].max() < 50.0


@each_model
def test_a_gap_is_no_anomaly(model: Callable[[], Adaptive]):
    """Six hours of silence, then the same values as before."""
    points = noise(900, rows=1)
    points.time[600:] += 6 * 3_600_000
    assert np.nanmax(model().learn(points)[600:]) < 6.0


@each_model
def test_an_irregular_interval_is_no_anomaly(model: Callable[[], Adaptive]):
    """Points that come between 0.2 s and 30 s apart."""
    points = noise(900, rows=1)
    points.time[:] = T0 + np.cumsum(np.random.default_rng(2).integers(200, 30_000, 900))
    assert np.nanmax(model().learn(points)) < 6.0


@each_model
def test_cutting_a_series_short_changes_no_earlier_score(model: Callable[[], Adaptive]):
    """Nothing looks ahead."""
    points = noise(300)
    whole, cut = model().learn(points), model().learn(points.part(slice(0, 500)))
    np.testing.assert_array_equal(whole[:500], cut)
