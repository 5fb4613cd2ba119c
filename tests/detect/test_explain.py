"""An explanation is of the score that was given: its parts make that score, to the bit, on any row."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly.config.models import Errors, Match, Model, ModelSpec
from anomaly.detect.bank import Bank
from anomaly.detect.explain import Parts, is_known, leading, parts_of, ratio_parts_of, recombined, recombined_ratio
from anomaly.detect.judge import SCORE, Batch, Judge
from anomaly.detect.layout import MODEL
from anomaly.detect.moment import moment

T0 = 1_767_225_600_000  # 2026-01-01T00:00:00Z
RATIO = ModelSpec(
    name="errors", match=(Match(),), model=Model.RATIO, errors=Errors(label=("code",), value=("5??",)), min_events=10,
    bad=0.05, bad_events=20,
)  # fmt: skip
VALUE = ModelSpec(name="value", match=(Match(),))

SHAPES = st.sampled_from(["noise", "constant", "steps", "bursts", "smooth", "drift"])


def values(shape: str, n: int, seed: int) -> np.ndarray:
    """A series of a kind."""
    rng = np.random.default_rng(seed)
    at = np.arange(n)
    noise = rng.normal(0.0, 1.0, n)
    shaped = {
        "noise": 50.0 + noise,
        "constant": np.full(n, 7.0) + (rng.random(n) < 0.01),
        "steps": 10.0 * (at // 97 % 3) + noise,
        "bursts": np.where(rng.random(n) < 0.05, rng.exponential(100.0, n), 0.0),
        "smooth": 100.0 * np.sin(at / 50.0),
        "drift": 1e9 + at + noise,
    }
    return np.asarray(shaped[shape], np.float64)


@settings(max_examples=60, deadline=None)
@given(SHAPES, st.integers(0, 400), st.integers(0, 99), st.sampled_from([1, 60, 300]), st.booleans(), st.data())
def test_the_parts_of_a_learned_row_make_the_score_that_the_kernel_gives(
    shape: str, n: int, seed: int, step: int, seasonal: bool, data: st.DataObject
):
    """Whatever comes next, be it usual, far off or late."""
    bank = Bank()
    bank.ensure(1)
    series, zeros = values(shape, n, seed), np.zeros(n, np.int32)
    time = T0 + np.arange(n) * step * 1000
    bank.judge(zeros, time, series, np.full(n, seasonal), zeros)
    at = T0 + (n + data.draw(st.integers(-5, 3000))) * step * 1000
    usual = float(series[-1]) if n else 0.0
    value = usual + data.draw(st.floats(-1e3, 1e3))
    check(bank, at, value, seasonal)


FINITE = st.floats(-1e6, 1e6, width=32)
POSITIVE = st.floats(0.0, 1e6, width=32)
PROFILES = st.lists(st.integers(-32768, 32767), min_size=90, max_size=90)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from([n for n in MODEL.names or () if MODEL[n] == np.float32]), POSITIVE),
       st.integers(0, 255), st.integers(0, 255), st.integers(0, 1), PROFILES, FINITE, st.integers(-10**7, 10**9),
       st.booleans())  # fmt: skip
def test_the_parts_of_any_row_make_the_score_that_the_kernel_gives(
    fields: dict[str, float],
    day_age: int,
    week_age: int,
    primed: int,
    profile: list[int],
    value: float,
    after: int,
    seasonal: bool,
):
    """Rows that no series would ever leave behind included."""
    bank = Bank()
    bank.ensure(1)
    row = bank.state[:1]
    for name, number in fields.items():
        row[name] = number
    row["n"] = max(float(row["n"][0]), 12.0)
    row["last"], row["day_age"], row["week_age"], row["primed"], row["profile"] = T0, day_age, week_age, primed, profile
    check(bank, T0 + after, value, seasonal)


def check(bank: Bank, time: int, value: float, seasonal: bool) -> None:
    """Score and band of the explanation are the model's."""
    with np.errstate(all="ignore"):
        judged = bank.score([0], [time], [value], [seasonal])
        parts = parts_of(bank.state, 0, time, value, seasonal)
    np.testing.assert_array_equal(recombined(parts), judged.score[0])
    if is_known(parts):
        np.testing.assert_array_equal([parts.low, parts.high], [judged.low[0], judged.high[0]])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 400), st.integers(0, 4000)), min_size=1, max_size=60))
def test_the_parts_of_k_of_n_make_its_score(cells: list[tuple[int, int, int]]):
    """Cells of any size, any time apart."""
    judge = Judge([RATIO])
    row, time = judge.add(0, True), T0
    for k, n, apart in cells:
        time += apart * 1000
        cell = time, float(min(k, n)), float(n)
        parts = ratio_parts_of(judge.ratios.state, 0, cell, (RATIO.min_events, 0.05, 20.0))
        said = judge.judge(batch(row, [time], [cell[1]], [cell[2]]))
        np.testing.assert_array_equal(recombined_ratio(parts, RATIO.min_events), said.judged[0, SCORE])
        assert bool(parts.bad) == bool(said.bad[0])


def batch(row: int, time: list[int], value: list[float], total: list[float] | None = None) -> Batch:
    """Points of one row."""
    n = len(time)
    at = np.arange(n)
    return Batch(at, np.full(n, row, np.int32), np.array(time, np.int64), np.array(value, np.float64),
                 np.array(total or [0.0] * n), at)  # fmt: skip


@pytest.mark.parametrize("i", [0, 1, 500, 901, 950, 1199])
def test_a_moment_is_what_the_judge_says_of_that_very_point(i: int):
    """Taken from a batch that goes on beyond it, with an episode in the midst of it; the judge is left as it was."""
    series = values("noise", 1200, 5)
    series[900:1000] += 30.0
    judge, plain = Judge([VALUE]), Judge([VALUE])
    rows = judge.add(0, False), plain.add(0, False)
    points = batch(rows[0], [T0 + 1000 * k for k in range(1200)], series.tolist())
    found = moment(judge, rows[0], points, i)
    said = plain.judge(points)
    np.testing.assert_array_equal([found.score, found.low, found.high], said.judged[i, :3])
    assert isinstance(found.parts, Parts)
    np.testing.assert_array_equal(recombined(found.parts), found.score)
    assert judge.bank.state["n"][0] == 0.0
    assert (found.before["phase"] != 0) == (901 <= i < 1003)


def test_what_speaks_is_the_greatest_part():
    """A leap is sudden, or far from what is expected, and that is its score."""
    judge = Judge([VALUE])
    row = judge.add(0, False)
    series = values("noise", 1200, 5)
    series[1100] += 40.0
    found = moment(judge, row, batch(row, [T0 + 1000 * k for k in range(1200)], series.tolist()), 1100)
    assert isinstance(found.parts, Parts)
    name, says = leading(found.parts)
    assert name in ("season", "sudden", "season and range")
    assert math.isclose(says + found.parts.run - found.parts.repeated, found.score)
