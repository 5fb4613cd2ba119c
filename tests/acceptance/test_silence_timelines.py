"""What people are told while something is silenced, planned or in shadow, as timelines: inputs, commands, expected alerts.

A step is the second at which events come, and the events, or commands; the expectation as in `test_alert_timelines`, with
what it would have been behind a severity of `info`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import msgspec
import pytest
from tests.command.orders import expire, plan, promote, shadow, silence
from tests.dispatch.story import ERRORS, LATENCY, OTHER, QUEUE, SILENCE, START, closed, grown, opened, tick

from anomaly.command.command import Command, Copy
from anomaly.config.settings import Correlation, Settings, Threshold
from anomaly.detect.anomaly import Anomaly, Tick
from anomaly.dispatch.alert import Alert
from anomaly.engine import Engine
from anomaly.host.stages_alerts import Remembered

Step = tuple[float, Sequence[Anomaly | Command]]
Due = tuple[float, str, str]


@dataclass
class Timeline:
    """A story, who is in shadow, and what people should hear of it."""

    steps: list[Step]
    due: list[Due]
    shadow: dict[str, bool] = field(default_factory=dict)


def engine(in_shadow: dict[str, bool]) -> Engine:
    settings = Settings(threshold=Threshold(alert=6.0), correlation=Correlation(resolve_after=30.0), shadow=in_shadow)
    return Engine(settings, ())


def restarted(before: Engine) -> Engine:
    """One that goes on with what the other kept, through bytes."""
    correlator, after = before.correlator(0), engine(dict(before.settings.shadow))
    kept = Remembered(correlator.memory(), [], budgets=before.budgets(0).dump(), commands=before.commands(0).dump())
    read = msgspec.msgpack.decode(msgspec.msgpack.encode(kept), type=Remembered)
    after.correlator(0).remember(read.memory)
    after.budgets(0).load(read.budgets)
    after.commands(0).load(read.commands)
    return after


def told(timeline: Timeline, restarts: bool = False, twice: bool = False) -> list[Alert]:
    """All alerts, with a tick at the end of each step."""
    one, found = engine(timeline.shadow), list[Alert]()
    for second, given in timeline.steps:
        events: list[Anomaly | Tick | Copy] = [e if isinstance(e, Anomaly) else Copy(command=e) for e in given]
        for event in [*events, tick(second)] * (2 if twice else 1):
            one = restarted(one) if restarts else one
            found += [alert for _, alert in one.correlate(0, [event]) if alert]
    return found


def due(alert: Alert) -> Due:
    severity = f"{alert.severity.value}/{alert.would}" if alert.would else alert.severity.value
    return datetime.fromisoformat(alert.time).timestamp() - START / 1000, alert.event.value, severity


def every(second: float, last: float, by: float = 10.0) -> list[Step]:
    """Ticks."""
    return [(second + by * i, []) for i in range(1, round((last - second) / by) + 1)]


WEB = 'group="checkout"'
a, bad = opened("a", 0), opened("b", 20, kind=ERRORS | {"bad": True})
silent, queue, odd = opened("s", 5, kind=SILENCE), opened("q", 0, kind=QUEUE), opened("o", 0, kind=OTHER)
shop = opened("x", 3, group="shop")
slow = opened("m", 60, points=((START, 0.03), (START + 60_000, 0.5)))
mute = silence(WEB, start=-10, end=100)
PAGE = [(0.0, "trigger", "critical"), (90.0, "resolve", "critical")]
IN_SHADOW = {"default": True}

TIMELINES = {
    "maintenance: it comes and goes, and nobody is told": Timeline(
        [(-20, [mute]), (0, [a]), (60, [closed(a, 60)]), (200, [])], []),
    "a silenced group is silent, and its errors are bad: nobody is told either": Timeline(
        [(-20, [mute]), (5, [silent]), (20, [bad]), (60, [closed(silent, 60), closed(bad, 60)]), (200, [])], []),
    "the silence ends and the trouble lasts: it is told a minute later": Timeline(
        [(-20, [mute]), (0, [a]), *every(0, 180), (190, [closed(a, 190)]), (300, [])],
        [(160, "trigger", "critical"), (220, "resolve", "critical")]),
    "it was over with the maintenance: its end, half a minute later, wakes nobody": Timeline(
        [(-20, [mute]), (0, [a]), *every(0, 120), (130, [closed(a, 130)]), (300, [])], []),
    "it gets worse after the silence: it is told at once": Timeline(
        [(-20, [mute]), (0, [a]), *every(0, 100), (110, [grown(a, 110, score=30.0)])], [(110, "trigger", "critical")]),
    "word of it comes when the silence is long over": Timeline(
        [(-20, [mute]), *every(0, 200), (200, [opened("l", 90)]), (399, []), (400, [])],
        [(400, "trigger", "critical")]),
    "who speaks once a minute is well again only when three minutes were": Timeline(
        [(-20, [mute]), (60, [slow]), *every(60, 260), (280, [closed(slow, 280)]), (600, [])], []),
    "who speaks once a minute is told of when five minutes were not": Timeline(
        [(-20, [mute]), (60, [slow]), *every(60, 460)], [(400, "trigger", "critical")]),
    "the first sum after the silence is of the time within": Timeline(
        [(-20, [mute]), (60, [slow]), (120, [grown(slow, 120, score=30.0)]), *every(120, 260),
         (270, [closed(slow, 270)])], []),
    "a group that is still silent when its silence ends": Timeline(
        [(-20, [mute]), (5, [silent]), *every(0, 180)], [(160, "trigger", "critical")]),
    "somebody ends the silence early": Timeline(
        [(-20, [mute]), (0, [a]), (20, [expire(20)]), *every(20, 90), (95, [closed(a, 95)]), (200, [])],
        [(80, "trigger", "critical"), (125, "resolve", "critical")]),
    "it was told before the silence: its end is told in it": Timeline(
        [(0, [a]), (10, [silence(WEB, start=10, end=500)]), (60, [closed(a, 60)]), (200, [])], PAGE),
    "it gets worse in a silence: told when that is over, once": Timeline(
        [(0, [queue]), (10, [silence(WEB, start=10, end=100)]), (20, [bad]), *every(20, 200)],
        [(0, "trigger", "warning"), (160, "update", "critical")]),
    "others are told as ever": Timeline(
        [(-20, [mute]), (0, [a]), (3, [shop]), (20, [closed(shop, 20)]), (90, [])],
        [(3, "trigger", "critical"), (50, "resolve", "critical")]),
    "what is silenced is a metric, and the group fails by another one": Timeline(
        [(-20, [silence("metric=http.server.request.duration", "quantity=~p.*", start=-10, end=100)]),
         (0, [a]), (20, [bad])],
        [(20, "trigger", "critical")]),
    "one pod is drained, another one is told of": Timeline(
        [(-20, [silence("k8s.pod.name=pod-3", start=-10, end=900)]), (0, [queue]),
         (9, [opened("q4", 9, kind=QUEUE | {"instance": (("k8s.pod.name", "pod-4"),)})])],
        [(9, "trigger", "warning")]),
    "a silence that stops learning alone mutes nobody": Timeline(
        [(-20, [silence(WEB, start=-10, end=900, stops="learning")]), (0, [a]), (60, [closed(a, 60)]), (200, [])], PAGE),
    "a plan mutes nobody": Timeline(
        [(-20, [plan(WEB, factor=8, start=-10, end=900)]), (0, [a]), (60, [closed(a, 60)]), (200, [])], PAGE),
    "a silence of another time mutes nobody": Timeline(
        [(-20, [silence(WEB, start=400, end=500)]), (0, [a]), (60, [closed(a, 60)]), (200, [])], PAGE),
    "in shadow statistics page nobody, and say what they would have": Timeline(
        [(0, [a]), (60, [closed(a, 60)]), (200, [])],
        [(0, "trigger", "info/critical"), (90, "resolve", "info/critical")], IN_SHADOW),
    "in shadow a ticket is for the record as well, and more of it is said once": Timeline(
        [(0, [odd]), (10, [opened("a", 10)]), (20, [grown(opened("a", 10), 20, score=30.0)])],
        [(0, "trigger", "info/warning"), (10, "update", "info/critical")], IN_SHADOW),
    "in shadow what is bad pages, and so does a dead group": Timeline(
        [(0, [a]), (20, [bad]), (25, [opened("d", 25, group="shop", kind=SILENCE)])],
        [(0, "trigger", "info/critical"), (20, "update", "critical"), (25, "trigger", "critical")], IN_SHADOW),
    "a team is promoted: what lasts is told, and what comes pages": Timeline(
        [(0, [a]), (50, [promote("prod", 50)]), (60, [opened("x", 60, group="shop")]), *every(60, 120)],
        [(0, "trigger", "info/critical"), (60, "trigger", "critical"), (110, "update", "critical")], IN_SHADOW),
    "a team of a pattern is promoted, another one stays": Timeline(
        [(-10, [promote("prod/check*", -10)]), (0, [a]), (3, [shop])],
        [(0, "trigger", "critical"), (3, "trigger", "info/critical")], IN_SHADOW),
    "by configuration one team is not in shadow": Timeline(
        [(0, [a]), (3, [shop])], [(0, "trigger", "critical"), (3, "trigger", "info/critical")],
        {"prod/check*": False, "default": True}),
    "a team goes back into shadow: what was paged ends as a page": Timeline(
        [(0, [a]), (10, [shadow("prod", 10)]), (20, [opened("x", 20, group="shop")]), (60, [closed(a, 60)]), (100, [])],
        [(0, "trigger", "critical"), (20, "trigger", "info/critical"), (90, "resolve", "critical")]),
}  # fmt: skip


@pytest.mark.parametrize("name", TIMELINES)
def test_people_are_told(name: str):
    assert [due(alert) for alert in told(TIMELINES[name])] == TIMELINES[name].due


@pytest.mark.parametrize("name", TIMELINES)
def test_a_restart_before_each_event_changes_nothing(name: str):
    assert told(TIMELINES[name], restarts=True) == told(TIMELINES[name])


@pytest.mark.parametrize("name", TIMELINES)
def test_what_comes_twice_tells_nobody_anything_again(name: str):
    """At least once is how commands come, as well as anomalies."""
    assert [due(alert) for alert in told(TIMELINES[name], twice=True)] == TIMELINES[name].due


def test_what_is_silenced_is_counted_once_and_says_why():
    """Whoever looks at .incidents sees who silenced it, until when, and why."""
    one = engine({})
    incidents = [i for i, _ in one.correlate(0, [Copy(command=mute), a, grown(a, 5, score=20.0)])]
    assert one.dispatcher.suppressed["silenced"] == 1
    said = "silence s by ann until 2026-01-01 09:03 UTC: upgrade"
    assert [(i.told.reason, i.told.silenced) for i in incidents] == 2 * [("silenced", said)]


def test_the_budget_is_spent_in_shadow_as_if_it_paged_and_not_by_what_is_silenced():
    """So that promotion brings what was shown; and a maintenance is no example of what is usual."""
    fleet = [opened(f"f{i}", 10.0 * i, group=f"g{i}", kind=LATENCY) for i in range(15)]
    paged = {}
    for name, one, commands in (("", engine({}), []), ("shadow", engine(IN_SHADOW), []),
                                ("silenced", engine({}), [silence('group=~"g.*"', start=-10, end=900)])):  # fmt: skip
        one.correlate(0, [*(Copy(command=c) for c in commands), *fleet])
        paged[name] = [(r.paged, r.held, r.series) for r in one.budgets(0).readings()]
    assert paged[""] == paged["shadow"] != []
    assert paged["silenced"] in ([], [(0, 0, 0)])
