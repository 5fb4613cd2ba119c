"""Values and ratios judged together: marks, tallies, and where memory is asked ahead."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly.config.models import Errors, Match, Model, ModelSpec, Signal, Sum
from anomaly.detect.episodes import CLOSED, EVENT, OPENED, RECORD
from anomaly.detect.judge import AHEAD, Batch, Judge, Verdicts

T0 = 1_767_225_600_000
SPECS = [
    ModelSpec(name="value", match=(Match(),), min_duration=20.0, close_after=20.0),
    ModelSpec(
        name="errors", match=(Match(),), signal=Signal.ERRORS, model=Model.RATIO, sum=Sum.GROUP,
        errors=Errors(label=("code",), value=("5*",)), min_events=10, min_deviation=0.005, bad=0.2, close_after=20.0,
    ),
]  # fmt: skip
VALUES, RATIO = 20, 20  # rows of values, and the row of the ratio after them


def judge_of(ahead: int = AHEAD) -> Judge:
    """Rows of values, then one ratio."""
    judge = Judge(SPECS, ahead)
    for _ in range(VALUES):
        judge.add(0, False)
    judge.add(1, True)
    judge.touched[:] = 0
    return judge


def batch(row: np.ndarray, time: np.ndarray, value: np.ndarray, total: np.ndarray) -> Batch:
    """Columns of the right types."""
    return Batch(
        np.arange(row.size), row.astype(np.int32), time.astype(np.int64), value * 1.0, total * 1.0, np.arange(row.size)
    )


def story() -> Batch:
    """Ten minutes every 5 s: noise that steps on some rows for two minutes, and errors of a hundred requests meanwhile."""
    rng, steps = np.random.default_rng(3), 120
    row, at = np.tile(np.arange(VALUES + 1), steps), np.repeat(np.arange(steps), VALUES + 1)
    fault = (at >= 60) & (at < 84)
    value = rng.normal(50.0, 1.0, row.size) + 20.0 * (fault & (row % 3 == 0))
    errors = row == RATIO
    value[errors] = np.where(fault[errors], 12.0 + 28.0 * (at[errors] >= 70), 0.0)
    return batch(row, T0 + 5000 * at, value, np.where(errors, 100.0, 0.0))


def part(of: Batch, cut: slice) -> Batch:
    """Some of the points."""
    cut_ = Batch._make(column[cut] for column in of)
    return cut_._replace(mark=np.arange(cut_.row.size))


def told(verdicts: Verdicts) -> list[tuple[object, ...]]:
    """All columns of the events but the position."""
    e = verdicts.events
    return list(zip(*(getattr(e, name).tolist() for name in EVENT.names or () if name != "index"), strict=True))


def state(judge: Judge) -> bytes:
    """Everything of every row."""
    rows = np.arange(VALUES + 1)
    parts = judge.bank.take(rows), judge.episodes.take(rows), judge.recent.take(rows), judge.ratios.take([0])
    return b"".join(parts)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 120 * (VALUES + 1)), max_size=6).map(sorted), st.sampled_from([0, 1, AHEAD]))
def test_neither_where_batches_end_nor_what_is_asked_ahead_changes_anything(cuts: list[int], ahead: int):
    """Events with their tallies, scores and state, to the bit."""
    whole, parts, points = judge_of(), judge_of(ahead), story()
    verdicts = whole.judge(points)
    pieces = [parts.judge(part(points, slice(a, b))) for a, b in zip([0, *cuts], [*cuts, points.row.size], strict=True)]
    assert [event for piece in pieces for event in told(piece)] == told(verdicts)
    np.testing.assert_array_equal(np.concatenate([piece.judged for piece in pieces]), verdicts.judged)
    assert state(parts) == state(whole)


def test_an_episode_of_a_ratio_tells_the_events_since_its_first_violating_cell():
    """Summed by hand; a cell told twice counts once; what came before and after the episode does not count."""
    judge, points = judge_of(), story()
    verdicts = judge.judge(points)
    e = verdicts.events
    mine = np.flatnonzero(e.row == RATIO)
    cells = points.row == RATIO
    for at in mine:
        until = points.time[e.index[at]]
        since = cells & (points.time >= e.started[at]) & (points.time <= until)
        assert (e.tally_k[at], e.tally_n[at]) == (points.value[since].sum(), points.total[since].sum())
    assert [e.event[mine[0]], e.event[mine[-1]]] == [OPENED, CLOSED]
    assert judge.ratios.state["tally_n"][0] == 0.0

    again, open_ = judge_of(), slice(0, 75 * (VALUES + 1))
    again.judge(part(points, open_))
    before = state(again)
    assert again.ratios.state["tally_n"][0] == 1500.0
    again.judge(part(points, slice(74 * (VALUES + 1), 75 * (VALUES + 1))))
    assert again.ratios.state["tally_n"][0] == 1500.0
    assert again.ratios.take([0]) == before[-len(again.ratios.take([0])) :]


def test_an_open_episode_that_turns_bad_says_so_once():
    """12 errors of a hundred are odd, 40 are a fault."""
    judge, points = judge_of(), story()
    verdicts = judge.judge(points)
    e = verdicts.events
    records = points.time[e.index[(e.row == RATIO) & (e.event == RECORD)]]
    bad = points.time[(verdicts.bad != 0) & (points.row == RATIO)]
    assert np.count_nonzero(records == bad[0]) == 1


def test_rows_that_changed_are_marked_and_no_others():
    """By comparing every row with what it was."""
    judge, points = judge_of(), story()
    judge.judge(points)
    judge.touched[:] = 0
    rows = np.arange(VALUES + 1)
    before = [judge.bank.take([r]) + judge.episodes.take([r]) for r in rows]
    some = np.array([3, 7, 3, RATIO])
    later = T0 + 5000 * 121 + np.arange(4) * 1000
    judge.judge(batch(some, later, np.array([50.0, 51.0, 52.0, 1.0]), np.array([0.0, 0.0, 0.0, 100.0])))
    changed = [r for r in rows if judge.bank.take([r]) + judge.episodes.take([r]) != before[r]]
    assert changed == [3, 7, RATIO]
    assert np.flatnonzero(judge.touched[: rows.size]).tolist() == changed


def test_the_state_of_a_judged_row_takes_at_most_480_bytes():
    """All arrays that have a record per row."""
    judge = judge_of()
    arrays = judge.bank.state, judge.episodes.table, judge.table, judge.recent.rings, judge.touched
    assert sum(array.itemsize for array in arrays) <= 480
    assert judge.bank.state.ctypes.data % 64 == judge.recent.rings.ctypes.data % 64 == 0
