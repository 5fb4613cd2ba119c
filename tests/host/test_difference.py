"""What two configurations would have alerted differently: paired by group and overlap in time."""

from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly.correlate.incident import Incident, State
from anomaly.dispatch.alert import Alert, Severity, What
from anomaly.host.difference import Kind, difference
from anomaly.host.history import Case, History
from anomaly.host.labelled import iso, ms
from anomaly.host.past import Stretch

START = ms("2024-03-01 00:00:00")
MINUTE = 60_000


def case(begins: int, ends: int | None, group: str = "web", after: int = 1, severity: Severity = Severity.WARNING) -> Case:
    """An incident that lasted from one minute to another, None: it still does; alerted `after` minutes."""
    key = f"{group}/{begins}"
    alerts = [alert(What.TRIGGER, key, begins, begins + after, group, severity)]
    if ends is not None:
        alerts.append(alert(What.RESOLVE, key, begins, ends + 1, group, severity, ends))
    state = State.OPEN if ends is None else State.RESOLVED
    at = START + begins * MINUTE
    return Case(
        alerts, Incident(dedup_key=key, environment="e", group=group, started=at, time=at, state=state, anomalies={})
    )


def alert(event: What, key: str, began: int, at: int, group: str, severity: Severity, ended: int | None = None) -> Alert:
    """An alert about it, times in minutes."""
    over = None if ended is None else iso(START + ended * MINUTE)
    return Alert(event=event, id=f"{key}/{event}", dedup_key=key, severity=severity, why="", title=f"{group}: slow", text="",
                 environment="e", group=group, ended_at=over, confidence="", time=iso(START + at * MINUTE),
                 started_at=iso(START + began * MINUTE))  # fmt: skip


def history(*cases: Case, stretch: Stretch = Stretch(), ends: int = 1000) -> History:  # noqa: B008
    """A replay that gave these."""
    made = History([], stretch, ends=START + ends * MINUTE)
    for one in cases:
        told = made.cases if stretch.tells(ms(one.first.time)) else made.before
        told[one.first.dedup_key] = one
    return made


def kinds(now: History, before: History) -> list[tuple[str, float]]:
    """What became of each incident, and by how many seconds."""
    return [(change.kind.value, change.seconds) for change in difference(now, before, ("now", "before")).changes]


def test_an_incident_of_one_side_alone_is_added_or_removed():
    assert kinds(history(case(10, 20)), history()) == [("added", 0.0)]
    assert kinds(history(), history(case(10, 20))) == [("removed", 0.0)]


def test_the_same_trouble_told_at_another_time_is_earlier_or_later():
    assert kinds(history(case(10, 20, after=2)), history(case(12, 20, after=5))) == [("earlier", -300.0)]
    assert kinds(history(case(10, 20, after=9)), history(case(10, 20))) == [("later", 480.0)]


def test_the_same_trouble_told_at_the_same_time_may_be_more_severe_or_less():
    critical = history(case(10, 20, severity=Severity.CRITICAL))
    assert kinds(critical, history(case(10, 20))) == [("raised", 0.0)]
    assert kinds(history(case(10, 20)), critical) == [("lowered", 0.0)]
    assert difference(critical, history(case(10, 20)), ("a", "b")).changes[0].severity == "warning → critical"


def test_troubles_that_do_not_overlap_or_are_of_other_groups_are_not_the_same():
    assert kinds(history(case(10, 20)), history(case(21, 30))) == [("added", 0.0), ("removed", 0.0)]
    assert kinds(history(case(10, 20, "web")), history(case(10, 20, "db"))) == [("removed", 0.0), ("added", 0.0)]


def test_one_that_lasts_overlaps_whatever_comes_later():
    assert kinds(history(case(10, None)), history(case(500, 600))) == [("earlier", -490 * 60.0)]


def test_of_two_that_became_one_the_longer_is_paired_and_the_other_says_where_it_went():
    told = difference(history(case(10, 100)), history(case(10, 20), case(40, 90)), ("now", "before")).changes
    removed = next(change for change in told if change.kind is Kind.REMOVED)
    assert len(told) == 2
    assert removed.before is not None
    assert removed.before.span[0] == START + 10 * MINUTE
    assert removed.within is not None
    assert removed.within.first.dedup_key == "web/10"
    assert removed.how.startswith("part of the one of 2024-03-01 00:11")


def test_what_both_told_before_the_stretch_is_not_spoken_of_but_what_one_of_them_tells_within_it_is():
    stretch = Stretch(begin=START + 60 * MINUTE)
    long = case(10, 200)
    assert kinds(history(long, stretch=stretch), history(long, stretch=stretch)) == []
    late = case(10, 200, after=70)
    assert kinds(history(late, stretch=stretch), history(long, stretch=stretch)) == [("later", 69 * 60.0)]


CASES = st.lists(
    st.builds(
        lambda begins, lasts, group: case(begins, begins + lasts, group),
        st.integers(0, 300), st.integers(1, 60), st.sampled_from(["web", "db"]),
    ),
    max_size=8, unique_by=lambda c: c.first.dedup_key,
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(CASES, CASES)
def test_every_incident_of_either_side_is_in_exactly_one_change_and_the_other_way_round_it_is_the_opposite(
    now: list[Case], before: list[Case]
):
    there = difference(history(*now), history(*before), ("a", "b"))
    assert sorted(id(c.now) for c in there.changes if c.now) == sorted(map(id, now))
    assert sorted(id(c.before) for c in there.changes if c.before) == sorted(map(id, before))
    back = difference(history(*before), history(*now), ("b", "a")).counts()
    opposite = {"added": "removed", "removed": "added", "earlier": "later", "later": "earlier", "same": "same"}
    assert {opposite[k]: n for k, n in there.counts().items() if k in opposite} == {k: back[k] for k in opposite}


def test_a_replay_differs_from_itself_in_nothing():
    both = history(case(10, 20), case(50, None), case(30, 40, "db"))
    assert set(kinds(both, both)) == {("same", 0.0)}
