"""How surprising an episode is on its series, against the formula written out."""

import math
from typing import Any

import numpy as np
import pytest
from msgspec import structs
from tests.dispatch.story import DAY, OTHER, closed, opened

from anomaly.dispatch import offenders
from anomaly.dispatch.forget import faded_weeks
from anomaly.dispatch.offenders import LEVELS, TIE, Offenders

WEEK = 7 * DAY


def episode(name: str, series: str = "s", score: float = 5.8, learned: float = WEEK) -> Any:
    return opened(name, 0, kind=OTHER, labels=(("series", series),), score=score, learned=learned)


def had(held: Offenders, n: int, series: str, score: float = 5.8) -> None:
    """So many episodes, from their beginning to their end."""
    for i in range(n):
        a = episode(f"{series}{i}", series, score)
        held.meet(a)
        held.meet(closed(a, 10))


def rate(own: list[float], weeks: float, fleet: list[float], fleet_weeks: float) -> float:
    """Of the last of some levels, by the counts of the series and of the fleet at each."""
    found = (own[0] + 0.5) / (weeks + 0.5 * (fleet_weeks + 1.0) / (fleet[0] + 0.5))
    for c, below, here in zip(own[1:], fleet, fleet[1:], strict=False):
        expected = found * (here + 0.5) / (below + 0.5)
        found = (c + 0.5) / (weeks + 0.5 / expected)
    return found


def test_the_surprise_is_the_rate_of_past_episodes_of_the_series_as_gamma_poisson_level_by_level():
    held = Offenders()
    had(held, 3, "a")
    had(held, 1, "b")
    had(held, 2, "b", 3.0)
    week = faded_weeks(1.0)
    least = rate([3], week, [6], 2 * week)
    assert held.meet(episode("small", "a", 2.5)) == pytest.approx(-math.log10(least) + TIE * 2.5, rel=1e-6)
    more = rate([4, 3, 3], week, [7, 4, 4], 2 * week)
    assert held.meet(episode("next", "a")) == pytest.approx(-math.log10(more) + TIE * 5.8, rel=1e-6)


def test_who_has_middling_episodes_all_the_time_surprises_less_by_a_great_one_than_who_has_none():
    """Neither ever had a great one: a heavy tail shows in its lesser peaks before it shows in the greatest."""
    held = Offenders()
    had(held, 8, "heavy", 8.6)
    had(held, 1, "quiet", 2.6)
    heavy, quiet = (held.meet(episode("great", name, 13.0)) for name in ("heavy", "quiet"))
    assert quiet > heavy + 0.7


def test_between_two_levels_it_goes_by_the_logarithm_of_the_peak():
    held, low, high, at = Offenders(), LEVELS[1], LEVELS[2], []
    had(held, 5, "a", 9.0)
    had(held, 40, "b", 4.0)
    for x in (low, math.sqrt(low * high), high):
        a = episode(f"p{x}", "a", x)
        at.append(held.meet(a) - TIE * x)
        held.withdraw(a)
    assert at[1] == pytest.approx((at[0] + at[2]) / 2, abs=1e-6)


def test_a_rate_that_is_known_is_undercut_as_often_as_it_says():
    """A thousand series with episodes of any size, by chance alone, for forty weeks: counted against the promise."""
    rng, held, reached = np.random.default_rng(4), Offenders(), []
    for week in range(40):
        for i in range(rng.poisson(1000)):
            a = episode(f"{week}-{i}", f"s{rng.integers(1000)}", float(2.5 + rng.exponential(1.2)), week * WEEK)
            reached.append((week, held.meet(a)))
            held.meet(closed(a, 10))
        held.fade(168)
    for per_week in (3.0, 30.0):
        undercut = math.log10(len(held) / per_week)  # n series reach a surprise s n 10^-s times a week
        came = sum(week >= 10 and s >= undercut for week, s in reached) / 30
        assert 0.3 * per_week <= came <= 2.0 * per_week


def test_what_a_series_does_every_day_surprises_less_than_what_it_never_did():
    held = Offenders()
    had(held, 20, "often")
    had(held, 1, "never", 3.0)
    assert held.meet(episode("x", "never")) > held.meet(episode("y", "often")) + 0.5


def test_an_episode_does_not_count_against_itself_however_it_grows():
    held = Offenders()
    had(held, 1, "a", 3.0)
    a = episode("x", "a")
    first = held.meet(a)
    assert [held.meet(structs.replace(a)) for _ in range(5)] == [first] * 5
    assert held.meet(structs.replace(a, score=9.0)) > first


def test_an_episode_whose_end_was_never_heard_counts_when_the_next_one_begins():
    told, untold = Offenders(), Offenders()
    had(told, 1, "a")
    untold.meet(episode("a0", "a"))
    assert untold.meet(episode("x", "a")) == told.meet(episode("x", "a"))


def test_what_is_withdrawn_was_never_there():
    held, clean = Offenders(), Offenders()
    a = episode("x", "a")
    held.meet(a)
    held.withdraw(a)
    clean.meet(a)
    clean.withdraw(a)
    assert held.meet(episode("y", "a")) == pytest.approx(Offenders().meet(episode("y", "a")))


def test_counts_fade_and_weeks_go_on():
    held = Offenders()
    had(held, 3, "a")
    held.fade(24 * 14)
    expected = rate([1.5] * 3, faded_weeks(3.0), [1.5] * 3, faded_weeks(3.0))
    assert held.meet(episode("next", "a")) == pytest.approx(-math.log10(expected) + TIE * 5.8, rel=1e-3)


def test_it_is_the_same_after_it_was_kept_to_the_bit():
    held = Offenders()
    for i in range(200):
        had(held, i % 4, f"s{i}", 2.5 + i % 11)
    held.meet(episode("open", "s3"))
    held.fade(7)
    again = Offenders(held.memory())
    assert again.memory() == held.memory()
    for i in range(200):
        assert again.meet(episode("z", f"s{i}")) == held.meet(episode("z", f"s{i}"))
    again.fade(100)
    held.fade(100)
    assert again.memory() == held.memory()


def test_the_number_of_series_is_bounded_and_who_was_quiet_for_longest_goes_first(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(offenders, "MOST", 100)
    held = Offenders()
    for i in range(1000):
        a = structs.replace(episode(f"e{i}", f"s{i}"), time=i)
        held.meet(a)
        held.meet(structs.replace(closed(a, 1), time=i))
    assert len(held) <= 100
    assert held.meet(structs.replace(episode("again", "s999"), time=1000)) < held.meet(episode("again", "s1"))
    counted = np.frombuffer(held.memory().rows, offenders.ROW)["counts"].sum(axis=0, dtype=np.float64)
    np.testing.assert_allclose(held.memory().counts, counted, atol=1e-3)
