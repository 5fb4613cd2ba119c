"""One problem, one incident, with its likely cause: calls, places, changes and anomalies as they come, and the alerts due.

The shop: web calls checkout, which calls payment and stock, which call db. Expected of an alert are its time, event, the
group of its title, the first cause, and its victims.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

import jsonschema
import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.dispatch.story import ERRORS, LATENCY, OTHER, QUEUE, START, at, closed, grown, opened, tick

from anomaly.config.models import Signal
from anomaly.config.settings import Correlation, Settings
from anomaly.correlate.correlator import Correlator, Memory
from anomaly.detect.anomaly import Anomaly, Tick
from anomaly.detect.beside import Calls, Change, Facts, Said
from anomaly.dispatch.alert import Alert, encode, published_schema
from anomaly.dispatch.budgets import Budgets
from anomaly.dispatch.decide import Dispatcher
from anomaly.host.stages_alerts import _event

EDGES = (("web", "checkout"), ("checkout", "payment"), ("checkout", "stock"), ("payment", "db"), ("stock", "db"))
VALIDATOR = jsonschema.Draft202012Validator(orjson.loads(published_schema()))
_to, _from = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(Memory).decode


class Due(NamedTuple):
    """What is expected of an alert."""

    second: float
    event: str
    about: str
    cause: str
    victims: tuple[str, ...] = ()


def calls(*edges: tuple[str, str], second: float = -10) -> list[Said]:
    return [Calls(environment="prod", caller=a, callee=b, calls=100.0, time=at(second)) for a, b in edges or EDGES]


def steps(
    name: str, second: float, group: str, traces: Iterable[int], score: float = 5.0, late: int = 0, **more: Any
) -> Anomaly:
    """An unusual step in these traces, each a second after the other, `late` ms behind what else happens in them."""
    held = tuple((f"{trace:032x}", at(second - 5) + 1000 * i + late) for i, trace in enumerate(traces))
    kind = {
        "metric": "trace.steps", "quantity": "unusual step", "unit": "1", "score": score, "events": (float(len(held)), 60.0),
        "labels": (("next", f"ERROR {group}.py:71"), ("span.name", "Charge"), ("step", "start")),
        "expected": (0.0, 0.002), "observed": len(held) / 60, "traces": held, "code": f"{group}.py:71",
    }  # fmt: skip
    return opened(name, second, group=group, kind=kind, **more)


def alerts(events: Iterable[Said], restart: bool = False, twice: bool = False) -> list[Alert]:
    """All alerts; with a checkpoint before each event, or with each event delivered twice."""
    budget = Settings().alert_budget
    dispatcher, budgets = Dispatcher(Settings()), Budgets(budget)
    correlator, found = Correlator(Correlation(), dispatcher.matters), list[Alert]()
    for event in (e for e in events for _ in range(2 if twice and not isinstance(e, Tick) else 1)):
        if restart:
            memory = _to(correlator.memory())
            correlator = Correlator(Correlation(), dispatcher.matters)
            correlator.remember(_from(memory))
            assert _to(correlator.memory()) == memory
        for incident in correlator.update([event]):
            if alert := dispatcher.decide(incident, budgets):
                VALIDATOR.validate(orjson.loads(encode(alert)))
                found.append(alert)
    return found


def due(alert: Alert) -> Due:
    second = datetime.fromisoformat(alert.time).timestamp() - START / 1000
    first = str(alert.causes[0]["service"]) if alert.causes else ""
    victims = alert.impact["victims"]
    assert isinstance(victims, list)
    return Due(round(second, 3), alert.event.value, alert.title.partition(":")[0], first, tuple(victims))


def ticks(until: int, since: int = 0, every: int = 5) -> list[Said]:
    return [tick(t) for t in range(since, until + 1, every)]


def over(*anomalies: Anomaly, second: float = 200) -> list[Said]:
    return [*(closed(a, second) for a in anomalies), tick(second + 100)]


payment = opened("p", 0, group="payment", kind=ERRORS)
checkout = opened("c", 4, group="checkout", kind=ERRORS)
web = opened("w", 6, group="web", kind=LATENCY)
stock = opened("k", 7, group="stock", kind=LATENCY)
pods = [opened(f"p{i}", i, group=g, kind=QUEUE | {"instance": (("pod", f"{g}-1"),)}) for i, g in enumerate(("a", "b", "c"))]
nodes: list[Said] = [
    Facts(environment="prod", group="kube", who=(("pod", f"{g}-{i}"),), facts=(("k8s.node.name", f"n{i}"),), time=at(-60))
    for g in ("a", "b", "c", "d") for i in range(1, 9)
]  # fmt: skip
versions: list[Said] = [
    Facts(
        environment="prod", group="payment", who=(("pod", f"payment-{i}"),), time=at(-60),
        facts=(("service.version", "2.3.1" if i < 3 else "2.3.0"),),
    )
    for i in range(30)
]  # fmt: skip
bad = [
    opened(
        f"v{i}", i, group="payment",
        kind=ERRORS | {"instance": (("pod", f"payment-{i}"),), "aggregate": False, "peers": 29, "middle": 0.001},
    )
    for i in range(3)
]  # fmt: skip
rollout = Change(
    id="1", environment="prod", group="payment", kind="rollout", what="payment 2.3.0 → 2.3.1", labels=(), time=at(-240)
)
one, two = steps("s1", 10, "payment", range(8), 7.0), steps("s2", 12, "stock", range(100, 108), 7.0)
db = steps("s3", 30, "db", [0, 1, 2, 100, 101, 102], 9.0, late=-21_000)
both = steps("s4", 30, "web", [0, 1, 2, 3, 100, 101, 102], 9.0)
caller = steps("s5", 20, "checkout", [0, 1, 2, 3, 100, 101, 102, 103], 6.0)
beside = steps("s6", 25, "stock", range(100, 108), 7.0, late=-5_000)
suffers = steps("s7", 20, "checkout", [0, 1], 4.5, late=1_000)
lasts = grown(one, 44, traces=tuple((f"{50 + i:032x}", at(30 + i)) for i in range(8)))
too = grown(suffers, 45, score=9.0, traces=tuple((f"{200 + i:032x}", at(30 + i)) for i in range(8)), events=(8.0, 60.0))
first, second = steps("s8", 10, "stock", range(100, 108), 7.0), steps("s9", 12, "payment", range(8), 14.0)
little = [
    steps("l1", 0, "db", range(4), 4.5), steps("l2", 1, "payment", range(4), 4.0, late=1050),
    steps("l3", 2, "db", range(6), 4.9),
]  # fmt: skip

TIMELINES: dict[str, tuple[list[Said], list[Due]]] = {
    "a failure that spreads to its callers is one incident, and these are victims": (
        [*calls(), payment, checkout, web, *ticks(60, since=6), *over(payment, checkout, web)],
        [
            Due(0, "trigger", "payment", "payment"),
            Due(26, "update", "payment", "payment", ("checkout", "web")),
            Due(230, "resolve", "payment", "payment", ("checkout", "web")),
        ],
    ),
    "whoever is heard first is not the cause: it gives way to what it calls": (
        [*calls(), checkout, grown(payment, 6, score=30.0), *ticks(60, since=6), *over(payment, checkout)],
        [
            Due(4, "trigger", "checkout", "checkout"),
            Due(6, "update", "payment", "payment", ("checkout",)),
            Due(230, "resolve", "payment", "payment", ("checkout",)),
        ],
    ),
    "two faults in traces of their own are two incidents": (
        [*calls(), one, two, *ticks(60, since=12), *over(one, two)],
        [
            Due(10, "trigger", "payment", "payment"), Due(12, "trigger", "stock", "stock"),
            Due(230, "resolve", "payment", "payment"), Due(230, "resolve", "stock", "stock"),
        ],
    ),
    "a cause that shows late, in the traces of both, makes them one": (
        [*calls(), one, two, db, *ticks(60, since=30), *over(one, two, db)],
        [
            Due(10, "trigger", "payment", "payment"), Due(12, "trigger", "stock", "stock"),
            Due(30, "resolve", "stock", "stock"), Due(30, "update", "db", "db", ("payment", "stock")),
            Due(230, "resolve", "db", "db", ("payment", "stock")),
        ],
    ),
    "a caller that shows in the traces of both does not make them one": (
        [*calls(), one, two, both, *ticks(60, since=30), *over(one, two, both)],
        [
            Due(10, "trigger", "payment", "payment"), Due(12, "trigger", "stock", "stock"),
            Due(50, "update", "web", "payment", ("web",)),
            Due(230, "resolve", "web", "payment", ("web",)), Due(230, "resolve", "stock", "stock"),
        ],
    ),
    "two that a caller of both brought together are two incidents, once their traces say so": (
        [*calls(), one, caller, beside, *ticks(60, since=25), *over(one, caller, beside)],
        [
            Due(10, "trigger", "payment", "payment"), Due(25, "trigger", "stock", "stock"),
            Due(45, "update", "payment", "payment", ("checkout",)),
            Due(230, "resolve", "payment", "payment", ("checkout",)), Due(230, "resolve", "stock", "stock"),
        ],
    ),
    "who suffers, and then fails in traces in which its cause is well, has a problem of its own": (
        [*calls(), one, suffers, lasts, too, *ticks(60, since=45), *over(lasts, too)],
        [
            Due(10, "trigger", "payment", "payment"), Due(45, "trigger", "checkout", "checkout"),
            Due(230, "resolve", "checkout", "checkout"), Due(230, "resolve", "payment", "payment"),
        ],
    ),
    "of two that turn out to be one the page goes on that has more evidence, though it was told later": (
        [*calls(), first, second, db, *ticks(60, since=30), *over(first, second, db)],
        [
            Due(10, "trigger", "stock", "stock"), Due(12, "trigger", "payment", "payment"),
            Due(30, "resolve", "stock", "stock"), Due(50, "update", "payment", "payment"),
            Due(230, "resolve", "payment", "payment"),
        ],
    ),
    "what is odd in traces, a little in several places, is a ticket together": (
        [*calls(), *little, *ticks(60, since=3), *over(*little)],
        [Due(2, "trigger", "db", "db", ("payment",)), Due(230, "resolve", "db", "db", ("payment",))],
    ),
    "one that lasts keeps nobody else's fault, which comes later, for itself": (
        [*calls(), payment, *ticks(600, every=100), opened("k2", 600, group="stock"), tick(700)],
        [Due(0, "trigger", "payment", "payment"), Due(600, "trigger", "stock", "stock")],
    ),
    "without calls each group is by itself": (
        [payment, checkout, *over(payment, checkout)],
        [
            Due(0, "trigger", "payment", "payment"), Due(4, "trigger", "checkout", "checkout"),
            Due(230, "resolve", "checkout", "checkout"), Due(230, "resolve", "payment", "payment"),
        ],
    ),
    "services on one node that are ill together are one incident, whose cause is the node": (
        [*nodes, *pods, *ticks(60, since=3), *over(*pods)],
        [
            Due(0, "trigger", "a", "a"), Due(1, "trigger", "b", "b"),
            Due(2, "resolve", "b", "b"), Due(2, "update", "a", "a"), Due(230, "resolve", "a", "a"),
        ],
    ),
    "three of thirty instances, all of one version: the version is named, and its rollout": (
        [*versions, rollout, *bad, *ticks(60, since=3), *over(*bad)],
        [Due(0, "trigger", "payment", "payment"), Due(230, "resolve", "payment", "payment")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TIMELINES)
def test_people_are_told_of_one_problem_once_and_of_its_cause(name: str):
    events, expected = TIMELINES[name]
    found = alerts(events)
    assert [due(alert) for alert in found] == expected


@pytest.mark.parametrize("name", TIMELINES)
def test_a_checkpoint_before_each_event_and_a_redelivery_of_each_change_nothing(name: str):
    events, _ = TIMELINES[name]
    assert alerts(events, restart=True) == alerts(events) == alerts(events, twice=True)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 40), st.integers(0, 3), st.integers(3, 12)), max_size=40))
def test_whatever_comes_a_restart_between_two_events_changes_nothing(given: list[tuple[int, int, int, int]]):
    """Anomalies of five services that open, grow and close, some in traces of two faults, and time that goes on."""
    events, known = calls(), dict[tuple[int, int], Anomaly]()
    for second, (what, pick, fault, score) in enumerate(given):
        group, second = ("web", "checkout", "payment", "stock", "db")[pick % 5], 7 * second
        key = pick % 5, fault
        if what == 0:
            events.append(tick(second))
        elif what == 1 and key in known:
            events.append(closed(known.pop(key), second))
        elif key in known:
            events.append(grown(known[key], second, score=float(score + what)))
        else:
            traces = range(100 * fault, 100 * fault + 6 * (fault < 2))
            known[key] = steps(f"{second}", second, group, traces, float(score), late=pick)
            events.append(known[key])
    events.append(tick(7 * len(given) + 300))
    assert alerts(events, restart=True) == alerts(events) == alerts(events, twice=True)


def test_what_detect_says_travels_as_json_and_what_is_not_known_is_a_dead_letter():
    for event in (*calls(), nodes[0], rollout, payment, tick(0)):
        assert _event.decode(msgspec.json.encode(event)) == event
    with pytest.raises(msgspec.DecodeError):
        _event.decode(b'{"type": "of a newer version", "time": 0}')


def test_the_cause_names_the_version_the_instances_and_the_rollout():
    told = alerts([*versions, rollout, *bad, *over(*bad)])[-1]
    (cause,) = told.causes
    assert cause["what"] == ("payment: requests fail, in version 2.3.1, rollout at 08:58 UTC: payment 2.3.0 → 2.3.1")
    assert "version 2.3.1: 3 of the 3 that are ill, and 3 of 30 in all" in cause["evidence"]  # type: ignore[operator]
    assert told.changes == ("rollout at 08:58 UTC: payment 2.3.0 → 2.3.1",)


def test_a_change_raises_the_suspicion_of_what_was_changed():
    """Two services as ill as each other, of which neither calls the other."""
    pair = [opened("x", 0, group="stock", kind=ERRORS), opened("y", 0, group="payment", kind=ERRORS)]
    around = opened("z", 1, group="checkout", kind=ERRORS)

    def first(*changes: Said) -> object:
        return alerts([*calls(), *changes, *pair, around, *over(*pair, around)])[-1].causes[0]["service"]

    assert first() == "payment"
    assert first(Change(id="1", environment="prod", group="stock", kind="flag", what="", labels=(), time=at(-60))) == "stock"


def test_a_change_of_what_a_service_calls_is_not_said_to_be_its_own():
    ill = opened("c", 4, group="checkout", kind=ERRORS)
    told = alerts([*calls(), rollout, ill, *ticks(60, since=5)])[-1]
    assert told.causes[0]["what"] == "checkout: requests fail, rollout of payment at 08:58 UTC: payment 2.3.0 → 2.3.1"
    assert "; likely cause: rollout of payment since" in told.title


def test_the_way_back_is_not_the_cause():
    began = Change(id="1", environment="prod", group="payment", kind="rollout", what="2.3.1", labels=(), time=at(-5))
    back = Change(id="2", environment="prod", group="payment", kind="rollout", what="2.3.0", labels=(), time=at(20))
    worse = opened("q", 22, group="payment", kind=QUEUE)
    told = alerts([*calls(), began, payment, back, worse, *over(payment, worse)])
    assert [str(alert.causes[0]["what"]).rpartition(": ")[2] for alert in told] == ["2.3.1"] * len(told)
    assert len(told) > 1


def test_a_message_says_what_is_wrong_the_likely_cause_and_who_suffers():
    pay = steps("s", 1, "payment", range(8), 9.0, signal=Signal.ERRORS)
    shown = opened("c", 4, group="checkout", kind=ERRORS | {"traces": tuple((f"{i:032x}", at(2)) for i in range(4))})
    found = alerts([*calls(), rollout, pay, shown, *ticks(60, since=5)])
    assert [(a.event.value, a.severity.value) for a in found] == [("trigger", "warning"), ("update", "critical")]
    assert found[1].title == (
        "checkout: 31 % of requests fail; likely cause: payment (payment.py:71, rollout) since 09:02:11 UTC"
    )
    for line in (
        "1. likely payment: “ERROR payment.py:71” comes after “start” of Charge (payment.py:71), rollout at 08:58 UTC: "
        "payment 2.3.0 → 2.3.1",
        "for: the first odd step in 8 of the 8 example traces in which it is odd",
        "against: payment, on which it depends, is ill as well",
        "victims, which call it: checkout",
    ):
        assert line in found[1].text
    assert found[1].traces[0] == f"{0:032x}"


def test_a_better_reason_for_the_same_cause_is_told_once_and_a_little_better_one_is_not():
    """A weak trouble was there before the fault: who looks after it has to know that it is another one now."""
    weak, fault = (
        steps("w1", 0, "payment", range(8), 7.0),
        steps("f1", 40, "payment", range(20, 28), 12.0, code="Charge.java:9"),
    )
    more = steps("f2", 60, "payment", range(40, 48), 14.0, code="Charge.java:10")
    found = alerts([*calls(), weak, fault, grown(fault, 50, score=12.5), more, *over(weak, fault, more)])
    assert [due(alert)[:4] for alert in found] == [
        (0, "trigger", "payment", "payment"), (40, "update", "payment", "payment"), (230, "resolve", "payment", "payment")
    ]  # fmt: skip
    assert "another reason for the likely cause leads now" in found[1].text
    assert "Charge.java:9" in str(found[1].causes[0]["what"])


def test_causes_that_change_places_do_not_call_people_each_time():
    turns: list[Said] = []
    x, y = opened("x", 0, group="stock", kind=ERRORS), opened("y", 0, group="payment", kind=ERRORS)
    link = opened("z", 1, group="checkout", kind=OTHER)
    for i in range(40):
        x, y = grown(x, 10 + 20 * i, score=15.0 + 40 * i), grown(y, 20 + 20 * i, score=35.0 + 40 * i)
        turns += [x, y, tick(20 + 20 * i)]
    assert len(alerts([*calls(), x, link, y, *turns])) <= 6


def test_what_an_older_version_kept_goes_on():
    """It knew no groups, calls or places."""
    correlator = Correlator(Correlation())
    correlator.update([payment])
    kept = msgspec.msgpack.decode(_to(correlator.memory()))
    for name in ("graph", "places", "ill", "version"):
        del kept[name]
    for incident in kept["open"]:
        for name in ("groups", "traces", "causes", "rival", "widened", "victims", "systemic", "merged"):
            del incident[name]
        del incident["told"]["cause"], incident["told"]["widened"]
    again = Correlator(Correlation())
    again.remember(_from(_to(kept)))
    assert again.update([payment]) == []
    (one,) = again.update([*calls(), checkout])
    assert (one.dedup_key, sorted(one.groups)) == (correlator.open_incidents[0].dedup_key, ["checkout", "payment"])


def test_a_group_that_does_not_fit_is_a_problem_of_its_own(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("anomaly.correlate.belongs.GROUPS", 3)
    star = calls(*((f"s{i}", "hub") for i in range(10)))
    correlator = Correlator(Correlation())
    correlator.update([*star, *(opened(f"a{i}", i, group=f"s{i}", kind=ERRORS) for i in range(10))])
    assert sorted(len(i.groups) for i in correlator.open_incidents) == [1, 3, 3, 3]


def test_many_groups_without_a_common_cause_are_called_systemic():
    star = calls(*(("hub", f"s{i}") for i in range(8)))
    found = alerts([*star, *(opened(f"a{i}", i, group=f"s{i}", kind=ERRORS) for i in range(8)), *ticks(60)])
    assert found[-1].impact["systemic"] is True
    assert "systemic: 8 groups are ill" in found[-1].text
