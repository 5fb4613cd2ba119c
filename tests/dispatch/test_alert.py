"""What an alert says and in which shape."""

import math
from datetime import datetime
from typing import Any

import jsonschema
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.dispatch.story import ERRORS, LATENCY, LOSS, OTHER, QUEUE, SILENCE, closed, opened, tick

from anomaly.config.settings import Correlation, Settings
from anomaly.correlate.correlator import Correlator
from anomaly.detect.anomaly import Anomaly, Tick
from anomaly.dispatch.alert import Alert, cloudevent, decode, encode, published_schema
from anomaly.dispatch.budgets import Budgets
from anomaly.dispatch.decide import Dispatcher
from anomaly.dispatch.words import clock

SCHEMA = orjson.loads(published_schema())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
EPISODES = [ERRORS, LATENCY, LOSS, SILENCE, QUEUE, OTHER, ERRORS | {"bad": True, "expected": (math.nan, math.nan)}]


def alerts(*anomalies: Anomaly | Tick, end: bool = True) -> list[Alert]:
    dispatcher = Dispatcher(Settings(links={"runbook": "https://wiki/{group}"}))
    events = [*anomalies, *([closed(a, 60) for a in anomalies if isinstance(a, Anomaly)] + [tick(1000)] if end else [])]
    changed = Correlator(Correlation(), dispatcher.matters).update(events)
    budgets = Budgets(Settings().alert_budget)
    return [alert for incident in changed if (alert := dispatcher.decide(incident, budgets))]


def trigger(kind: dict[str, Any], **more: Any) -> Alert:
    return alerts(opened("a", 0, kind=kind, **more), end=False)[0]


def test_the_schema_is_one_and_describes_every_field():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$id"].startswith("urn:")
    for holder, struct in ((SCHEMA, Alert), (SCHEMA["$defs"]["evidence"], None)):
        assert all(p.get("description") or "$ref" in p or "const" in p for p in holder["properties"].values())
        assert set(holder["required"]) == set(holder["properties"])
        if struct:
            assert set(holder["properties"]) == set(struct.__struct_fields__)


@pytest.mark.parametrize("kind", EPISODES)
def test_every_alert_keeps_to_the_schema_and_comes_back_from_its_json(kind: dict[str, object]):
    for alert in alerts(opened("a", 0, kind=kind)):
        VALIDATOR.validate(orjson.loads(encode(alert)))
        assert decode(encode(alert)) == alert


@pytest.mark.parametrize("kind", EPISODES)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.0, -1.0, 1e308, 5e-324])
def test_numbers_that_are_none_are_still_an_alert(kind: dict[str, Any], value: float):
    odd = {"observed": value, "current": value, "expected": (value, value), "learned": value}
    for alert in alerts(opened("a", 0, kind=kind | odd, points=((0, value),), bad=True)):
        VALIDATOR.validate(orjson.loads(encode(alert)))


@settings(max_examples=60, deadline=None)
@given(
    st.text(max_size=60), st.text(max_size=300), st.text(max_size=60), st.floats(), st.tuples(st.floats(), st.floats()),
    st.lists(st.tuples(st.integers(0, 2**41), st.floats()), max_size=4), st.sampled_from(EPISODES),
)  # fmt: skip
def test_whatever_telemetry_holds_the_alert_keeps_to_the_schema(
    group: str, metric: str, unit: str, observed: float, expected: tuple[float, float], points: list[tuple[int, float]],
    kind: dict[str, object],
):  # fmt: skip
    more = {"metric": metric, "unit": unit, "observed": observed, "current": observed, "expected": expected}
    anomaly = opened("a", 0, group=group, kind=kind | more, points=tuple(points), labels=((metric, group),), bad=True)
    for alert in alerts(anomaly):
        VALIDATOR.validate(orjson.loads(encode(alert)))
        assert "\x1b" not in alert.text
        assert all(cloudevent(alert).values())


@pytest.mark.parametrize(
    ("kind", "title"),
    [
        (ERRORS, "checkout: 31 % of requests fail (usual 0–0.3 %) since 09:02:10 UTC"),
        (LATENCY, "checkout: p95 of http.server.request.duration is 512 ms (usual 18–31 ms) since 09:02:10 UTC"),
        (SILENCE, "checkout: silent for 52 s (usually heard every 1 s) since 09:02:10 UTC"),
        (LOSS, "checkout: traffic 3.2/s (usual 110–140/s) since 09:02:10 UTC"),
        (QUEUE, "checkout: pod-3, queue.depth is 900 (usual 3–40) since 09:02:10 UTC"),
        (OTHER, "checkout: rate of cache.hits is 2/s (usual 30–44/s) since 09:02:10 UTC"),
    ],
)
def test_the_title_says_who_what_how_far_and_since_when(kind: dict[str, object], title: str):
    assert trigger(kind).title == title


@pytest.mark.parametrize(
    ("since", "now", "said"),
    [
        ("2026-01-01T09:03:20", "2026-01-01T09:05:00", "09:03:20"),
        ("2026-01-01T09:03:00", "2026-01-01T09:05:00", "09:03"),
        ("2025-12-31T23:55:00", "2026-01-01T00:10:00", "2025-12-31 23:55"),
    ],
)
def test_since_when_has_its_date_where_that_is_not_today_s(since: str, now: str, said: str):
    """A trouble of last night is not one of tonight."""
    assert clock(*(round(datetime.fromisoformat(f"{t}Z").timestamp() * 1000) for t in (since, now))) == said


def test_a_bound_that_is_nothing_beside_the_value_is_zero():
    """Two megabytes where 4.6e-12 bytes were the most: not so many digits, nor a factor of them."""
    alert = trigger(QUEUE, observed=2e6, current=0.0, expected=(0.0, 4.6e-12))
    assert "(usual 0)" in alert.title
    assert "e-12" not in alert.text
    assert "times" not in alert.text


def test_a_title_keeps_its_time_however_long_the_names_are():
    title = trigger(LATENCY, group="g" * 300, metric="m" * 300).title
    assert len(title) <= 100
    assert title.endswith("since 09:02:10 UTC")


def test_the_text_is_what_a_person_needs_at_night():
    errors = opened("a", 0, kind=ERRORS | {"current": 0.29})
    pod = opened("b", 4, kind=QUEUE, labels=(("queue", "orders"),))
    alert = alerts(pod, errors, end=False)[-1]
    assert alert.text.splitlines() == [
        "checkout (prod): 31 % of requests fail (usual 0–0.3 %).",
        "",
        "since     2026-01-01T09:02:10Z, for 4 s",
        "how far   103 times the most that is usual",
        "now       29 %, usual 0–0.3 %",
        "how sure  high: 212 of 684 requests; learned 14 days",
        "why       service-level errors above the threshold (evidence 14.2, threshold 6)",
        "changed   severity warning → critical, more telling evidence leads now",
        "",
        "evidence",
        "  - 31 % of requests fail (usual 0–0.3 %) — http.server.request.duration; 103 times the most that is usual;"
        " since 2026-01-01T09:02:10Z  ▁▁█",
        "  - pod-3, queue.depth is 900 (usual 3–40); 22 times the most that is usual; since 2026-01-01T09:02:14Z"
        " [queue=orders, k8s.pod.name=pod-3]  ▁▁█",
        "",
        "runbook: https://wiki/checkout",
    ]


def test_what_lasts_and_became_normal_is_not_said_to_have_come_back():
    """The queue is as long as it was; nobody goes on being told of it."""
    queue = opened("a", 0, kind=QUEUE)
    alert = alerts(queue, closed(queue, 60, "new normal"), tick(1000), end=False)[-1]
    lines = alert.text.splitlines()
    assert lines[0].startswith(
        "checkout (prod): It lasts, and is taken as normal from now on. It was: pod-3, queue.depth is 900"
    )
    assert "why       it has lasted so long that this is the new normal" in lines
    assert "come back" not in alert.text


def test_only_the_most_telling_are_shown_and_the_others_are_counted():
    alert = alerts(*(opened(f"a{i}", 0, kind=QUEUE | {"score": 7.0 + i}) for i in range(9)), opened("l", 1), end=False)[-1]
    assert len(alert.evidence) == 5
    assert "  and 5 more" in alert.text


@pytest.mark.parametrize(
    ("kind", "sure"),
    [
        (LATENCY, "high: learned 14 days"),
        (LATENCY | {"learned": 3 * 3600.0}, "medium: learned only 3 h"),
        (LATENCY | {"learned": 240.0}, "low: learned only 4 min"),
        (LATENCY | {"score": 6.5}, "low: hardly above the threshold; learned 14 days"),
        (LATENCY | {"score": 8.0}, "medium: not far above the threshold; learned 14 days"),
        (ERRORS | {"bad": True, "learned": 85.0}, "high: 212 of 684 requests; learned 1 min 25 s"),
        (ERRORS | {"events": (212.0, 5104.0)}, "high: 212 of 5,104 requests; learned 14 days"),
        (SILENCE, "high: nothing heard 52 times as long as usual"),
        (SILENCE | {"expected": (0.0, 10.0)}, "medium: nothing heard 5 times as long as usual"),
    ],
)
def test_how_sure_it_is_follows_from_evidence_and_learning(kind: dict[str, object], sure: str):
    assert trigger(kind).confidence == sure


def test_the_cloudevent_names_type_subject_and_schema():
    alert = trigger(ERRORS)
    assert cloudevent(alert) == {
        "ce_specversion": b"1.0",
        "ce_id": alert.id.encode(),
        "ce_source": b"urn:anomaly:dispatch",
        "ce_type": b"anomaly.alert.trigger",
        "ce_time": b"2026-01-01T09:02:10Z",
        "ce_subject": b"checkout",
        "ce_dataschema": SCHEMA["$id"].encode(),
        "content-type": b"application/json",
    }
