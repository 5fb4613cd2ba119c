"""Timelines: points as judged, and what the episode says of them."""

import numpy as np

from anomaly.config.models import Direction, Match, ModelSpec
from anomaly.detect.episodes import CLOSED, OPENED, REASONS, RECORD, Episodes, Events

T0 = 1_767_225_600_000


def run(
    value: list[float], score: list[float], step: float = 1.0, episodes: Episodes | None = None, bad: int = 0, **spec: object
) -> Events:
    """One row whose expected band is 0 to 2."""
    made = episodes or Episodes([ModelSpec(name="s", match=(Match(),), **spec)], 3.0)  # type: ignore[arg-type]
    made.ensure(1)
    n = len(value)
    zeros = np.zeros(n, int)
    times = T0 + (1000 * step * np.arange(n)).astype(int)
    return made.step(zeros, times, value, score, zeros, zeros + 2, zeros, zeros + bad)


def told(events: Events) -> list[tuple[int, int, str]]:
    """Position, event, reason."""
    columns = zip(events.index, events.event, events.reason, strict=True)
    return [(int(i), int(e), REASONS[r]) for i, e, r in columns]


def test_it_opens_grows_by_records_only_and_closes():
    """Calm for 5 s ends it; `started` is the first violating point; the peak is kept."""
    value = [1.0] * 5 + [5.0, 6.0, 9.0, 9.0, 8.0] + [1.0] * 10
    score = [0.0] * 5 + [4.0, 4.01, 8.0, 8.01, 7.0] + [0.0] * 10
    events = run(value, score, close_after=5.0)
    assert told(events) == [(5, OPENED, ""), (7, RECORD, ""), (14, CLOSED, "back to normal")]
    assert set(events.started) == {T0 + 5000}
    assert (events.score[-1], events.observed[-1], events.high[-1]) == (8.01, 9.0, 2.0)


def test_it_speaks_again_when_it_comes_to_what_people_are_told_at():
    """However little it grew since it was last spoken of: a score that only just fell short is not overlooked."""
    spec = [ModelSpec(name="s", match=(Match(),))]
    value, score = [1.0, 5.0, 6.0, 6.0, 7.0], [0.0, 5.9, 6.0, 6.1, 6.8]
    assert told(run(value, score, episodes=Episodes(spec, 3.0))) == [(1, OPENED, "")]
    assert told(run(value, score, episodes=Episodes(spec, 3.0, told_at=6.0))) == [(1, OPENED, ""), (2, RECORD, "")]


def test_the_second_value_of_what_people_are_told_of_is_news_though_it_did_not_grow():
    """So that who waits for a second one hears of it, once, and of nothing that is over with the first."""
    spec = [ModelSpec(name="s", match=(Match(),))]
    twice, score = [1.0, 5.0, 1.0, 5.0, 5.0, 1.0], [0.0, 9.0, 0.0, 9.0, 9.0, 0.0]
    assert told(run(twice, score, episodes=Episodes(spec, 3.0, told_at=6.0))) == [(1, OPENED, ""), (3, RECORD, "")]
    assert told(run(twice[:3], score, episodes=Episodes(spec, 3.0, told_at=6.0))) == [(1, OPENED, "")]
    assert told(run(twice, [0.5 * s for s in score], episodes=Episodes(spec, 3.0, told_at=6.0))) == [(1, OPENED, "")]


def test_it_must_last_and_tolerates_a_normal_point_between():
    """30 s at 1 s are thirty points; at 300 s one point is enough; 20 s are nothing."""
    long = [1.0] * 5 + [5.0] * 10 + [1.0] + [5.0] * 22
    high = [4.0 if v > 2 else 0.0 for v in long]
    assert told(run(long, high, min_duration=30.0)) == [(35, OPENED, "")]
    assert told(run(long[:26], high[:26], min_duration=30.0)) == []
    assert told(run([1.0] * 5 + [5.0], [0.0] * 5 + [4.0], step=300.0, min_duration=30.0)) == [(5, OPENED, "")]


def test_what_is_too_small_or_on_the_other_side_is_left_alone():
    """However surprising it is."""
    value, score = [1.0] * 5 + [1.5] * 5, [0.0] * 5 + [9.0] * 5
    assert told(run(value, score, min_deviation=1.0)) == []
    assert told(run(value, score, min_relative=0.8)) == []
    assert told(run(value, score, direction=Direction.BELOW)) == []
    assert told(run(value, score, direction=Direction.ABOVE)) == [(5, OPENED, "")]


def test_a_bad_level_opens_at_once_though_nothing_is_known():
    """Without a score, and without having lasted."""
    assert told(run([9.0], [np.nan], bad=1, min_duration=30.0)) == [(0, OPENED, "")]


def test_missing_data_never_closes():
    """Six hours of silence stand for three usual intervals."""
    episodes = Episodes([ModelSpec(name="s", match=(Match(),), close_after=30.0)], 3.0)
    run([1.0] * 5 + [9.0] * 5, [0.0] * 5 + [9.0] * 5, episodes=episodes)
    later = T0 + 6 * 3_600_000
    events = episodes.step([0], [later], [1.0], [0.0], [0.0], [2.0], [0], [0])
    assert len(events) == 0
    assert list(episodes.open()) == [0]


def test_what_lasts_becomes_the_new_normal_and_is_silent_until_the_model_agrees():
    """No second episode while the model still finds it surprising."""
    events = run([9.0] * 200, [9.0] * 200, new_normal_after=100.0)
    assert told(events) == [(0, OPENED, ""), (100, CLOSED, "new normal")]


def test_an_episode_known_from_before_a_restart_is_not_opened_again_and_ends_by_its_own_band():
    """The model knows nothing yet."""
    episodes = Episodes([ModelSpec(name="s", match=(Match(),), close_after=5.0)], 3.0)
    episodes.restore(0, T0 - 60_000, 8.0, 9.0, 0.0, 2.0, Direction.ABOVE)
    nothing = np.full(20, np.nan)
    value = np.r_[np.full(10, 9.0), np.full(10, 1.0)]
    zeros = np.zeros(20, int)
    events = episodes.step(zeros, T0 + 1000 * np.arange(20), value, nothing, nothing, nothing, zeros, zeros)
    assert told(events) == [(14, CLOSED, "back to normal")]
    assert events.started[0] == T0 - 60_000


def test_a_caller_may_close_it_for_a_reason_of_its_own():
    """Once."""
    episodes = Episodes([ModelSpec(name="s", match=(Match(),))], 3.0)
    run([9.0] * 3, [9.0] * 3, episodes=episodes)
    assert told(episodes.close(0, "series ended")) == [(-1, CLOSED, "series ended")]
    assert told(episodes.close(0, "series ended")) == []


def test_what_is_taken_and_put_elsewhere_goes_on_as_it_would_have():
    """Open, pending and calm rows, in a table where other rows had their episodes first."""
    spec = [ModelSpec(name="s", match=(Match(),), min_duration=5.0, close_after=5.0)]
    rows, n = np.array([0, 1, 2]), 12
    row, time = np.tile(rows, n), np.repeat(T0 + 1000 * np.arange(n), 3)
    value = np.where((row == 0) | ((row == 1) & (time > T0 + 9000)), 9.0, 1.0)
    score, zeros = np.where(value > 2.0, 9.0, 0.0), np.zeros(row.size, int)
    one, other = Episodes(spec, 3.0), Episodes(spec, 3.0)
    one.ensure(3)
    one.step(row, time, value, score, zeros, zeros + 2, zeros, zeros)
    other.restore(1, T0, 8.0, 9.0, 0.0, 2.0, Direction.ABOVE)
    other.restore(5, T0, 8.0, 9.0, 0.0, 2.0, Direction.ABOVE)
    other.put(rows, one.take(rows))

    assert other.take(rows) == one.take(rows)
    assert list(one.open()) == [0]
    assert list(other.open()) == [0, 5]
    later, calm = time + 1000 * n, np.zeros(row.size)
    first, second = (e.step(row, later, calm + 1, calm, zeros, zeros + 2, zeros, zeros) for e in (one, other))
    assert told(first) == told(second)
    assert told(first)[-1][1] == CLOSED


def test_a_row_that_is_calm_again_gives_its_place_back():
    """However many episodes there were, there are as many places as were needed at once."""
    episodes = Episodes([ModelSpec(name="s", match=(Match(),), close_after=5.0)], 3.0)
    for k in range(50):
        value = np.r_[np.full(5, 9.0), np.full(10, 1.0)]
        score, zeros = np.where(value > 2.0, 9.0, 0.0), np.zeros(15, int)
        episodes.ensure(1)
        episodes.step(zeros, T0 + 15_000 * k + 1000 * np.arange(15), value, score, zeros, zeros + 2, zeros, zeros)
    assert episodes.places.tolist() == [1, 1]
    assert list(episodes.open()) == []
