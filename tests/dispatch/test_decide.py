"""Which incidents are alerted, with which severity, and why."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.dispatch.story import ERRORS, LATENCY, LOSS, OTHER, QUEUE, RISE, SILENCE, closed, grown, opened, tick

from anomaly.config.settings import Correlation, Settings, Threshold
from anomaly.correlate.correlator import Correlator
from anomaly.detect.anomaly import Anomaly, Tick
from anomaly.dispatch.alert import Alert
from anomaly.dispatch.budgets import Budgets
from anomaly.dispatch.decide import Dispatcher
from anomaly.dispatch.severity import matters, verdict


class Scene:
    """Events to alerts."""

    def __init__(self, **more: Any) -> None:
        settings = Settings(threshold=Threshold(alert=6.0), **more)
        self.dispatcher, self.budgets = Dispatcher(settings), Budgets(settings.alert_budget)
        self.correlator = Correlator(Correlation(resolve_after=30.0), self.dispatcher.matters)

    def play(self, *events: Anomaly | Tick) -> list[Alert]:
        decided = (self.dispatcher.decide(i, self.budgets) for i in self.correlator.update(events))
        return [alert for alert in decided if alert]


def said(alerts: list[Alert]) -> list[tuple[str, str]]:
    return [(a.event.value, a.severity.value) for a in alerts]


@pytest.mark.parametrize(
    ("kind", "severity", "why"),
    [
        (ERRORS, "critical", "service-level errors above the threshold (evidence 14.2, threshold 6)"),
        (LATENCY, "critical", "service-level latency above the threshold (evidence 11.0, threshold 6)"),
        (LOSS, "critical", "service-level loss of traffic above the threshold (evidence 9.0, threshold 6)"),
        (RISE, "warning", "a rise of traffic above the threshold (evidence 9.0, threshold 6), not service-level"),
        (QUEUE, "warning", "saturation above the threshold (evidence 8.0, threshold 6), not service-level"),
        (OTHER, "warning", "a change above the threshold (evidence 7.0, threshold 6), not service-level"),
        (OTHER | {"supports": True}, "info",
         "a change above the threshold (evidence 7.0, threshold 6), not service-level, and by a spec that does not announce"
         " it: it supports what else is wrong"),
        (SILENCE, "critical", "the whole group has fallen silent while its source is heard"),
        (SILENCE | {"score": 1.0}, "critical", "the whole group has fallen silent while its source is heard"),
        (LATENCY | {"aggregate": False}, "warning",
         "latency above the threshold (evidence 11.0, threshold 6), not service-level"),
        (LATENCY | {"pages": False}, "warning",
         "latency above the threshold (evidence 11.0, threshold 6), not service-level"),
        (LATENCY | {"direction": "below"}, "warning",
         "latency above the threshold (evidence 11.0, threshold 6), not service-level"),
        (ERRORS | {"bad": True, "score": 0.5}, "critical",
         "errors at or past the level that is a fault whatever was usual"),
    ],
)  # fmt: skip
def test_the_table_gives_the_severity_and_says_which_row(kind: dict[str, Any], severity: str, why: str):
    (alert,) = Scene().play(opened("a", 0, kind=kind))
    assert (alert.severity.value, alert.why) == (severity, why)


@pytest.mark.parametrize("kind", [LATENCY, ERRORS, LOSS, OTHER])
def test_below_the_threshold_nobody_is_told_of_beginning_or_end(kind: dict[str, Any]):
    scene = Scene()
    a = opened("a", 0, kind=kind, score=5.9)
    assert scene.play(a, grown(a, 5, score=5.99), closed(a, 10), tick(100)) == []
    assert scene.dispatcher.suppressed["below_threshold"] == 1


def test_a_moved_number_is_no_news():
    scene = Scene()
    a = opened("a", 0)
    alerts = scene.play(a, *(grown(a, t, score=11.0 + t, observed=0.5 + t) for t in range(1, 20)))
    assert said(alerts) == [("trigger", "critical")]
    assert scene.dispatcher.suppressed["nothing_material_changed"] == 19


def test_one_trigger_and_one_resolve_with_ids_of_their_own():
    a = opened("a", 0)
    first, last = Scene().play(a, closed(a, 60), tick(100))
    assert said([first, last]) == [("trigger", "critical"), ("resolve", "critical")]
    assert first.dedup_key == last.dedup_key
    assert first.id != last.id
    assert (last.started_at, last.ended_at, last.time) == (
        "2026-01-01T09:02:10Z",
        "2026-01-01T09:03:10Z",
        "2026-01-01T09:03:40Z",
    )


def test_a_risen_severity_is_an_update_and_a_fallen_one_is_not():
    scene = Scene()
    queue, latency = opened("q", 0, kind=QUEUE), opened("l", 10)
    alerts = scene.play(queue, latency, closed(latency, 20), grown(queue, 30, score=20.0), closed(queue, 40), tick(100))
    assert said(alerts) == [("trigger", "warning"), ("update", "critical"), ("resolve", "critical")]
    assert "changed   severity warning → critical" in alerts[1].text


def test_more_telling_evidence_is_an_update_once():
    latency, errors = opened("l", 0), opened("e", 5, kind=ERRORS | {"bad": True})
    more = opened("e2", 7, kind=ERRORS, labels=(("route", "/pay"),))
    alerts = Scene().play(latency, errors, more, opened("q", 9, kind=QUEUE))
    assert said(alerts) == [("trigger", "critical"), ("update", "critical")]
    assert "requests fail" in alerts[1].title


def test_the_message_leads_with_what_tells_most_not_with_the_highest_score():
    errors, silent = opened("e", 0, kind=ERRORS | {"score": 7.0}), opened("l", 0, kind=LATENCY | {"score": 40.0})
    queue, weak = opened("q", 0, kind=QUEUE | {"score": 50.0}), opened("w", 0, kind=ERRORS | {"score": 3.0})
    alerts = Scene().play(weak, queue, silent, errors)
    kinds = [e.quantity for e in alerts[-1].evidence]
    assert kinds == ["error ratio", "p95", "value", "error ratio"]
    assert [e.score for e in alerts[-1].evidence] == [7.0, 40.0, 50.0, 3.0]


def test_a_weak_anomaly_of_the_morning_does_not_make_the_problem_old():
    weak, strong = opened("w", -9000, kind=OTHER | {"score": 3.0}), opened("s", 0)
    (alert,) = Scene().play(weak, strong)
    assert alert.started_at == "2026-01-01T09:02:10Z"


def test_alerts_go_on_from_what_was_told_before_a_restart():
    scene, again = Scene(), Scene()
    a = opened("a", 0, kind=QUEUE)
    (first,) = scene.play(a)
    again.correlator.restore(scene.correlator.open_incidents)
    assert again.play(grown(a, 5, score=9.0)) == []
    alerts = again.play(opened("l", 10), closed(a, 20), closed(opened("l", 10), 20), tick(100))
    assert said(alerts) == [("update", "critical"), ("resolve", "critical")]
    assert len({first.id, *(x.id for x in alerts)}) == 3


def test_the_same_events_give_the_same_alerts_to_the_byte():
    a, b = opened("a", 0), opened("b", 3, kind=ERRORS)
    events = (a, b, closed(a, 10), closed(b, 50), tick(100))
    assert Scene().play(*events) == Scene().play(*events)


def test_removed_series_are_said_to_be_removed():
    a = opened("a", 0)
    alerts = Scene().play(a, closed(a, 10, "series ended"), tick(1000))
    assert alerts[-1].why == "the series were removed, and nothing else of the group is wrong"
    assert "its series were removed" in alerts[-1].title


def test_links_are_filled_in_with_names_that_can_change_no_other_part_of_them():
    scene = Scene(links={"runbook": "https://wiki/run?g={group}&e={environment}&m={metric}"})
    (alert,) = scene.play(opened("a", 0, group="shop/a&admin=1#"))
    assert alert.links == {"runbook": "https://wiki/run?g=shop%2Fa%26admin%3D1%23&e=prod&m=http.server.request.duration"}


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([ERRORS, LATENCY, LOSS, RISE, SILENCE, QUEUE, OTHER]),
    st.floats(0, 20),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_an_anomaly_matters_if_and_only_if_it_would_be_alerted(
    kind: dict[str, Any], score: float, bad: bool, pages: bool, aggregate: bool
):
    a = opened("a", 0, kind=kind | {"score": score, "bad": bad, "pages": pages, "aggregate": aggregate})
    assert matters(a, 6.0) is (verdict([a], 6.0) is not None) is bool(Scene().play(a))


def test_what_was_never_told_is_not_told_at_its_end_though_the_threshold_was_lowered_meanwhile():
    """A trigger of what is over would stand for ever: nothing comes after it."""
    before, after = Scene(), Scene()
    before.dispatcher.threshold = 12.0
    anomaly = opened("a", 0)
    assert before.play(anomaly, closed(anomaly, 20)) == []
    after.correlator.restore(before.correlator.open_incidents)
    assert after.play(tick(120)) == []
