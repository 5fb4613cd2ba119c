"""The promises that every model keeps, whatever it is. A model is added by one entry in MODELS, and what it cannot promise
by one in SPARED, with the reason."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.detect.feed import Feed, P, series

from anomaly.config.models import Errors, Match, ModelSpec
from anomaly.config.models import Model as Named
from anomaly.config.river import River
from anomaly.decode.points import Kind
from anomaly.detect.bank import Bank
from anomaly.detect.counts import Ratios, judge_point
from anomaly.detect.episodes import OPEN_AT
from anomaly.detect.judge import JUDGED
from anomaly.detect.river import Rivers

T0 = 1_767_225_600_000  # 2026-01-01T00:00:00Z


@dataclass(slots=True)
class Columns:
    """Points in arrival order."""

    row: NDArray[np.int32]
    time: NDArray[np.int64]
    value: NDArray[np.float64]

    def part(self, index: slice | NDArray[np.bool_]) -> "Columns":
        return Columns(self.row[index], self.time[index], self.value[index])


class Model(Protocol):
    """A model as the promises see it: rows 0 to 3 and whichever `ensure` makes."""

    KNOWN_AFTER: int  # points by which it says something
    BYTES: int  # that a row has at most

    def ensure(self, rows: int) -> None:
        """Make at least `rows` rows exist."""

    def learn(self, points: Columns) -> NDArray[np.float64]:
        """Scores of the points, each taken before it was learned."""

    def score(self, points: Columns) -> NDArray[np.float64]:
        """Scores of the points; nothing is learned."""

    def state(self) -> bytes:
        """All rows."""

    def restored(self) -> "Model":
        """A second model from the bytes of this one."""

    def moved(self, rows: Sequence[int]) -> None:
        """Take rows out, forget them, and put them back."""

    def row(self, row: int) -> bytes:
        """One row."""


class Adaptive:
    """The default model: a value against its band."""

    KNOWN_AFTER, BYTES = 20, 512

    def __init__(self) -> None:
        self.bank = Bank()
        self.ensure(4)

    def ensure(self, rows: int) -> None:
        self.bank.ensure(rows)

    def learn(self, points: Columns) -> NDArray[np.float64]:
        ones = np.ones(points.row.size)
        return self.bank.judge(points.row, points.time, points.value, ones, 0 * ones).score

    def score(self, points: Columns) -> NDArray[np.float64]:
        return self.bank.score(points.row, points.time, points.value, np.ones(points.row.size)).score

    def state(self) -> bytes:
        return self.bank.to_bytes()

    def restored(self) -> "Adaptive":
        other = Adaptive()
        other.bank = Bank.from_bytes(self.state())
        return other

    def moved(self, rows: Sequence[int]) -> None:
        data = self.bank.take(rows)
        for row in rows:
            self.bank.clear(row)
        self.bank.put(rows, data)

    def row(self, row: int) -> bytes:
        return self.bank.take([row])


class Ratio:
    """k of n: a value becomes how many of 2,000 events are errors, a tenth of them where it is a multiple of 100."""

    KNOWN_AFTER, BYTES = 20, 512
    EVENTS, PER_UNIT = 2000.0, 10.0
    LIMITS = 10.0, np.inf, 20.0  # fewest events, bad, of how many

    def __init__(self) -> None:
        self.ratios = Ratios()
        self.ensure(4)

    def ensure(self, rows: int) -> None:
        self.ratios.ensure(rows)

    def learn(self, points: Columns) -> NDArray[np.float64]:
        return self._judge(self.ratios.state, points, True)

    def score(self, points: Columns) -> NDArray[np.float64]:
        return self._judge(self.ratios.state.copy(), points, False)

    def _judge(self, state: NDArray[np.void], points: Columns, teach: bool) -> NDArray[np.float64]:
        errors = 0.1 * self.EVENTS + self.PER_UNIT * np.round((points.value + 50.0) % 100.0 - 50.0, 1)
        cells = zip(points.row.tolist(), points.time.tolist(), errors.tolist(), strict=True)
        return np.array([judge_point(state, r, t, k, self.EVENTS, False, *self.LIMITS, teach)[1] for r, t, k in cells])

    def state(self) -> bytes:
        return self.ratios.state.tobytes()

    def restored(self) -> "Ratio":
        other = Ratio()
        other.ratios.put(range(self.ratios.state.size), self.state())
        return other

    def moved(self, rows: Sequence[int]) -> None:
        data = self.ratios.take(rows)
        self.ratios.state[list(rows)] = np.zeros((), self.ratios.state.dtype)
        self.ratios.put(rows, data)

    def row(self, row: int) -> bytes:
        return self.ratios.take([row])


class OfRiver:
    """One of river's models by its tail, without the band that the default model gives it."""

    KNOWN_AFTER, BYTES = 80, 64 * 8 + 80  # twice its memory, and what is known of its scores
    SPEC = River(model="")

    def __init__(self) -> None:
        self.rivers = self._knowing_nobody()
        self.rows = 4

    def _knowing_nobody(self) -> Rivers:
        return Rivers([ModelSpec(name="river", match=(Match(),), model=Named.RIVER, river=self.SPEC)])

    def ensure(self, rows: int) -> None:
        self.rows = max(self.rows, rows)

    def learn(self, points: Columns) -> NDArray[np.float64]:
        return self._judge(self.rivers, points, True)

    def score(self, points: Columns) -> NDArray[np.float64]:
        return self._judge(self.restored().rivers, points, False)

    def _judge(self, rivers: Rivers, points: Columns, teach: bool) -> NDArray[np.float64]:
        n = points.row.size
        return rivers.scores(points.row, np.full(n, -1, JUDGED), points.time, points.value, np.full(n, teach))

    def state(self) -> bytes:
        return b"".join(self.row(row) for row in range(self.rows))

    def restored(self) -> "OfRiver":
        other = type(self)()
        other.rows = self.rows
        for row in range(self.rows):
            self.rivers.hand(other.rivers, row, row, (0, 0))
        return other

    def moved(self, rows: Sequence[int]) -> None:
        away = self._knowing_nobody()
        for row in rows:
            self.rivers.hand(away, row, row, (0, 0))
        self.rivers.release(np.array(rows, np.int32))
        for row in rows:
            away.hand(self.rivers, row, row, (0, 0))

    def row(self, row: int) -> bytes:
        alone = self._knowing_nobody()
        self.rivers.hand(alone, row, row, (0, 0))
        return b"".join(bytes(each.data) for each in [alone.table.gather(1)])


class HalfSpaceTrees(OfRiver):
    SPEC = River(model="HalfSpaceTrees", parameters={"n_trees": 4, "height": 5, "window_size": 30}, memory=32)


class GaussianScorer(OfRiver):
    SPEC = River(model="GaussianScorer", parameters={"grace_period": 10}, memory=32)


class Adwin(OfRiver):
    SPEC = River(model="ADWIN", memory=32)


MODELS: list[Callable[[], Model]] = [Adaptive, Ratio, HalfSpaceTrees, GaussianScorer, Adwin]
OF_RIVER = HalfSpaceTrees, GaussianScorer, Adwin

# What a model does not promise, and why.
SPARED = {
    (Ratio, "scoring_works_before_the_first_point_and_says_that_nothing_is_known"):
        "a share is known before any event: one in two hundred (counts.PRIOR_TOTAL)",
    (Ratio, "a_point_that_comes_again_is_scored_again"): "a cell that was there says nothing: it would count twice",
    (Ratio, "a_constant_series_neither_alarms_for_ever_nor_goes_blind"):
        "what is learned is worth 2,000 events, so a constant share has no narrow band: see test_counts",
    (HalfSpaceTrees, "a_constant_series_neither_alarms_for_ever_nor_goes_blind"):
        "river calls no value of a constant series odd, so that nothing is known of its scores",
    (GaussianScorer, "a_constant_series_neither_alarms_for_ever_nor_goes_blind"):
        "six hundred looks bear a score of 5.5, and a Gaussian of all values never calls a second level usual",
    (Adwin, "a_constant_series_neither_alarms_for_ever_nor_goes_blind"):
        "a drift is told when its windows prove it, not with the leap",
}  # fmt: skip


def each_model(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test for every model that promises it."""
    spared = {model for model, promise in SPARED if test.__name__ == f"test_{promise}"}
    marked: Callable[..., None] = pytest.mark.parametrize("model", [m for m in MODELS if m not in spared])(test)
    return marked


def test_who_is_spared_a_promise_is_a_model_and_the_promise_is_one():
    """Else the table says nothing."""
    assert all(model in MODELS and f"test_{promise}" in globals() for model, promise in SPARED)


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
def test_a_batch_equals_the_same_points_in_any_smaller_batches(model: Callable[[], Model], cuts: list[int]):
    """Where a batch ends changes neither scores nor state."""
    points, whole, parts = noise(100), model(), model()
    edges = [0, *sorted(cuts), points.row.size]
    scores = [parts.learn(points.part(slice(a, b))) for a, b in itertools.pairwise(edges)]
    np.testing.assert_array_equal(whole.learn(points), np.concatenate(scores))
    assert whole.state() == parts.state()


@each_model
def test_scoring_changes_nothing(model: Callable[[], Model]):
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
def test_scoring_works_before_the_first_point_and_says_that_nothing_is_known(model: Callable[[], Model]):
    """NaN is not known yet."""
    m, points = model(), noise(60)
    assert np.isnan(m.score(points.part(slice(0, 3)))).all()
    assert np.isnan(m.learn(points)[:3]).all()


@each_model
def test_something_is_known_soon_and_no_score_is_negative(model: Callable[[], Model]):
    """0 is perfectly normal."""
    m = model()
    known = m.learn(noise(120))[3 * m.KNOWN_AFTER :]
    assert (known >= 0.0).all()


@each_model
def test_state_does_not_grow_with_points(model: Callable[[], Model]):
    """As many bytes after a thousand points as after one; no more than it may have."""
    m, points = model(), noise(1000)
    m.learn(points.part(slice(0, 3)))
    size = len(m.state())
    m.learn(points.part(slice(3, None)))
    assert len(m.state()) == size
    assert len(m.row(0)) <= m.BYTES


@each_model
def test_state_round_trips_through_bytes_to_the_bit(model: Callable[[], Model]):
    """And the restored model goes on as the first would have."""
    m, points = model(), noise(200)
    m.learn(points.part(slice(0, 300)))
    other = m.restored()
    assert other.state() == m.state()
    rest = points.part(slice(300, None))
    np.testing.assert_array_equal(other.learn(rest), m.learn(rest))
    assert other.state() == m.state()


@each_model
def test_taking_rows_out_and_putting_them_back_is_the_identity(model: Callable[[], Model]):
    """A partition moves to another worker and back."""
    m = model()
    m.learn(noise(50))
    before = m.state()
    m.moved([2, 0])
    assert m.state() == before


@each_model
def test_a_redelivered_batch_teaches_nothing(model: Callable[[], Model]):
    """Points not newer than their series' last leave the state as it was."""
    m, points = model(), noise(100)
    m.learn(points)
    before = m.state()
    m.learn(points.part(slice(150, None)))
    assert m.state() == before


@each_model
def test_a_point_that_comes_again_is_scored_again(model: Callable[[], Model]):
    """Whoever asks gets an answer."""
    m, points = model(), noise(100)
    m.learn(points)
    assert not np.isnan(m.learn(points.part(slice(150, None)))).any()


@each_model
@pytest.mark.parametrize("step", [1.0, 10.0, 60.0, 300.0])
def test_an_injected_step_ranks_above_the_noise(model: Callable[[], Model], step: float):
    """The greatest score of ten series is where one of them steps by ten spreads, at every interval."""
    points = noise(400, rows=10, step=step)
    stepped = (points.row == 4) & (points.time >= T0 + 300 * step * 1000)
    points.value = points.value + 20.0 * stepped
    score = np.nan_to_num(model_of(model, 10).learn(points))
    assert stepped[np.argmax(score)]


def model_of(model: Callable[[], Model], rows: int) -> Model:
    """The model with enough rows."""
    made = model()
    made.ensure(rows)
    return made


@each_model
def test_a_new_series_leaves_the_others_unchanged_to_the_bit(model: Callable[[], Model]):
    """Nor does one that vanishes matter."""
    points = noise(200)
    alone, together = model(), model()
    together.learn(points.part(slice(0, 300)))
    together.learn(points.part(slice(300, None)).part(points.row[300:] != 1))
    alone.learn(points.part(points.row == 0))
    assert together.row(0) == alone.row(0)


@each_model
def test_a_constant_series_is_no_anomaly(model: Callable[[], Model]):
    """As soon as it is known, it begins no episode."""
    m = model()
    assert np.nan_to_num(m.learn(single(np.full(600, 7.0))))[m.KNOWN_AFTER :].max() < OPEN_AT


@each_model
def test_a_constant_series_neither_alarms_for_ever_nor_goes_blind(model: Callable[[], Model]):
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
def test_a_gap_is_no_anomaly(model: Callable[[], Model]):
    """Six hours of silence, then the same values as before."""
    points = noise(900, rows=1)
    points.time[600:] += 6 * 3_600_000
    assert np.nanmax(model().learn(points)[600:]) < 6.0


@each_model
def test_an_irregular_interval_is_no_anomaly(model: Callable[[], Model]):
    """Points that come between 0.2 s and 30 s apart."""
    points = noise(900, rows=1)
    points.time[:] = T0 + np.cumsum(np.random.default_rng(2).integers(200, 30_000, 900))
    assert np.nanmax(model().learn(points)) < 6.0


@each_model
def test_cutting_a_series_short_changes_no_earlier_score(model: Callable[[], Model]):
    """Nothing looks ahead."""
    points = noise(300)
    whole, cut = model().learn(points), model().learn(points.part(slice(0, 500)))
    np.testing.assert_array_equal(whole[:500], cut)


KNOWS = ModelSpec(name="default", match=(Match(),))
SHARES = ModelSpec(
    name="default", match=(Match(),), model=Named.RATIO, min_events=10, errors=Errors(label=("code",), value=("5*",))
)


@pytest.mark.parametrize("spec", [KNOWS, SHARES], ids=["adaptive", "ratio"])
def test_a_counter_reset_is_no_anomaly(spec: ModelSpec):
    """A process begins to count anew, once where it stood high and once where it stood low. Counters become rates before any
    model sees them, so the promise is the whole stage's."""
    feed, rng = Feed([spec]), np.random.default_rng(3)
    good, failed = (series("requests", Kind.COUNTER, code=code, instance="a") for code in ("200", "503"))
    counted = {good: 0.0, failed: 0.0}
    for i in range(1, 400):
        for one, rate in ((good, 200.0), (failed, 10.0)):
            counted[one] = (0.0 if i in (250, 253) else counted[one]) + rng.poisson(rate)
        feed.send(*(P(one, 10.0 * i, value) for one, value in counted.items()))
    after = [score for _, _, at, _, score in feed.judged if 2_490.0 <= at <= 2_600.0]
    assert len(after) >= 10
    assert max(after) < 4.0
