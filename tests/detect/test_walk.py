"""Model and episode in one pass."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly.config.models import Match, ModelSpec
from anomaly.detect.bank import Bank
from anomaly.detect.episodes import OPENED, Episodes
from anomaly.detect.walk import walk

T0 = 1_767_225_600_000
ROWS, POINTS = 3, 200


def run(cuts: list[int]) -> tuple[list[float], list[tuple[int, int]], bytes]:
    """Noise, and a step on row 1 after 90 s, in batches that end at `cuts`: scores, (row, event) and the state."""
    bank, episodes = Bank(), Episodes([ModelSpec(name="s", match=(Match(),), min_duration=30.0)])
    bank.ensure(ROWS)
    episodes.ensure(ROWS)
    row, time = np.tile(np.arange(ROWS), POINTS), np.repeat(T0 + 1000 * np.arange(POINTS), ROWS)
    value = np.random.default_rng(1).normal(50.0, 1.0, row.size) + 10.0 * ((row == 1) & (time >= T0 + 90_000))
    scores: list[float] = []
    events: list[tuple[int, int]] = []
    for a, b in zip([0, *cuts], [*cuts, row.size], strict=True):
        zeros = np.zeros(b - a, int)
        judged, happened = walk(bank, episodes, row[a:b], time[a:b], value[a:b], zeros + 1, zeros, zeros)
        scores += judged.score.tolist()
        events += list(zip(happened.row.tolist(), happened.event.tolist(), strict=True))
    return scores, events, bank.to_bytes() + episodes.take(np.arange(ROWS))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, ROWS * POINTS), max_size=5).map(sorted))
def test_where_batches_end_changes_neither_scores_nor_events_nor_state(cuts: list[int]):
    """Whether a row is held is known point by point."""
    whole, parts = run([]), run(cuts)
    np.testing.assert_array_equal(whole[0], parts[0])
    assert whole[1:] == parts[1:]


def test_a_step_after_ninety_seconds_opens_exactly_one_episode():
    """On the series that stepped, and stays open while it lasts."""
    scores, events, _ = run([])
    assert events[0] == (1, OPENED)
    assert [e for e in events if e[1] == OPENED] == [(1, OPENED)]
    assert max(scores[3 * 90 : 3 * 96]) >= 8.0
