"""The alert budget, as timelines: what pages, what is a ticket, and what neither counts nor is withheld."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from tests.dispatch.story import DAY, ERRORS, LATENCY, OTHER, SILENCE, closed, grown, opened, tick

from anomaly.config.settings import Correlation, Settings
from anomaly.correlate.correlator import Correlator
from anomaly.detect.anomaly import Anomaly, Tick
from anomaly.dispatch.alert import Alert
from anomaly.dispatch.budget import FLEET, STEP, floor
from anomaly.dispatch.budgets import ENVIRONMENTS, Budgets
from anomaly.dispatch.decide import REDUCED, Dispatcher
from anomaly.state import Newer

HOUR, WEEK = 3600.0, 7 * DAY
BAD = ERRORS | {"bad": True}


class Scene:
    """Events to alerts, under a budget."""

    def __init__(self, **budget: float) -> None:
        self.settings = Settings(alert_budget=budget or {"default": 2.0})
        self.dispatcher = Dispatcher(self.settings)
        self.correlator = Correlator(Correlation(resolve_after=30.0), self.dispatcher.matters)
        self.budgets = Budgets(self.settings.alert_budget)

    def play(self, *events: Anomaly | Tick) -> list[Alert]:
        decided = (self.dispatcher.decide(i, self.budgets) for i in self.correlator.update(events))
        return [alert for alert in decided if alert]

    def restart(self) -> "Scene":
        """Another process goes on with what this one kept."""
        other = Scene(**self.settings.alert_budget)
        encoded = msgspec.msgpack.encode(self.correlator.memory())
        other.correlator.remember(msgspec.msgpack.decode(encoded, type=type(self.correlator.memory())))
        other.budgets.load(self.budgets.dump())
        return other

    @property
    def threshold(self) -> float:
        (reading,) = self.budgets.readings()
        return reading.raised


def episode(name: str, seconds: float, kind: dict[str, Any] = LATENCY, group: str = "", **more: Any) -> list[Anomaly]:
    """One that lasts for ten minutes, of a group of its own."""
    a = opened(name, seconds, group or name, kind, **more)
    return [a, closed(a, seconds + 600)]


def nights(kind: dict[str, Any], n: int) -> list[Anomaly]:
    """The same fault every night."""
    return [event for i in range(n) for event in episode(f"night{i}", DAY * i, kind, "checkout")]


def triggers(alerts: Sequence[Alert]) -> list[str]:
    return [a.severity.value for a in alerts if a.event.value == "trigger"]


def test_what_finds_the_budget_spent_is_a_ticket_that_says_so():
    alerts = Scene().play(*(opened(f"a{i}", i, f"g{i}") for i in range(5)))
    assert triggers(alerts) == ["critical", "warning", "warning", "warning", "warning"]
    assert alerts[0].reduced_by == ()
    assert all(a.reduced_by == (REDUCED["held"],) for a in alerts[1:])
    assert all("held: the alert budget is spent" in a.why for a in alerts[1:])


def test_pages_come_back_with_time():
    scene = Scene()
    scene.play(*(opened(f"a{i}", i, f"g{i}") for i in range(3)))
    later = scene.play(opened("b", WEEK, "h"), opened("c", WEEK + 1, "i"), opened("d", WEEK + 2, "j"))
    assert triggers(later) == ["critical", "critical", "warning"]


def test_what_was_held_pages_when_it_grows_and_a_page_is_left_again():
    scene = Scene()
    scene.play(opened("a", 0, "g"))
    held = opened("b", 1, "h")
    (ticket,) = scene.play(held)
    (page,) = scene.play(grown(held, DAY * 5, score=20.0))
    assert (ticket.severity.value, page.event.value, page.severity.value) == ("warning", "update", "critical")
    assert (ticket.reduced_by, page.reduced_by) == ((REDUCED["held"],), ())


def test_an_incident_pays_for_one_page_whatever_else_happens_in_it():
    scene = Scene()
    scene.play(opened("a", 0), opened("b", 5, kind=ERRORS), grown(opened("a", 0), 10, score=30.0))
    (reading,) = scene.budgets.readings()
    assert reading.paged == 1


@pytest.mark.parametrize("kind", [BAD, SILENCE], ids=["bad", "silent"])
def test_a_fault_that_needs_no_statistics_pages_on_the_fifth_night_as_on_the_first(kind: dict[str, Any]):
    """Though the budget is spent, and whether or not anybody acknowledges."""
    scene = Scene(default=1.0)
    scene.play(*(opened(f"a{i}", -100 + i, f"g{i}") for i in range(5)))
    raised = scene.threshold
    alerts = scene.play(*nights(kind, 5), tick(5 * DAY))
    assert triggers(alerts) == ["critical"] * 5
    assert len({a.why for a in alerts if a.event.value == "trigger"}) == 1
    assert all(a.reduced_by == () for a in alerts)
    (reading,) = scene.budgets.readings()
    assert (reading.paged, reading.held) == (1, 4)
    assert scene.threshold <= raised


def test_a_page_on_statistics_that_turns_out_to_be_a_fault_costs_nothing():
    scene = Scene()
    a = opened("a", 0, kind=ERRORS)
    scene.play(a)
    assert scene.threshold == pytest.approx(STEP / 2.0)
    scene.play(grown(a, 5, bad=True))
    assert scene.threshold == 0.0
    assert triggers(scene.play(opened("b", 10, "h"))) == ["critical"]


def test_each_incident_above_the_threshold_raises_it_whether_paged_or_held_and_a_week_lowers_it():
    scene = Scene(default=10.0)
    scene.play(*(opened(f"a{i}", 0, f"g{i}") for i in range(8)))
    assert scene.threshold == pytest.approx(8 * STEP / 10.0)
    scene.play(opened("late", WEEK / 2, "late"))
    assert scene.threshold == pytest.approx(9 * STEP / 10.0 - STEP / 2)


def test_environments_have_budgets_of_their_own():
    scene = Scene()
    prod, test = (
        [structs.replace(opened(f"{e}{i}", i, f"g{i}"), environment=e) for i in range(3)] for e in ("prod", "test")
    )
    assert triggers(scene.play(*prod, *test)) == ["critical", "warning", "warning"] * 2


def test_a_team_is_a_pattern_of_its_groups_and_the_first_that_fits_counts():
    scene = Scene(**{"prod/shop/*": 1.0, "prod": 4.0})
    alerts = scene.play(*(opened(f"{g}{i}", i, f"{g}{i}") for g in ("shop/", "pay/") for i in range(3)))
    assert triggers(alerts) == ["critical", "warning", "warning", "critical", "critical", "warning"]
    assert [(r.environment, r.name, r.paged) for r in scene.budgets.readings()] == [
        ("prod", "prod", 2),
        ("prod", "prod/shop/*", 1),
    ]


def test_without_a_ceiling_the_threshold_alone_decides():
    scene = Scene(default=float("inf"))
    alerts = scene.play(*(opened(f"a{i}", i, f"g{i}") for i in range(50)))
    assert triggers(alerts) == ["critical"] * 50
    assert list(scene.budgets.readings()) == []


def test_no_budget_brings_up_what_lacks_evidence():
    assert Scene(default=100.0).play(opened("a", 0, score=5.9)) == []


def test_what_is_not_service_level_neither_pays_nor_feeds():
    scene = Scene()
    scene.play(*(opened(f"a{i}", i, f"g{i}", OTHER) for i in range(20)))
    assert triggers(scene.play(opened("b", 30, "h"))) == ["critical"]


def test_a_spec_that_pages_may_be_of_any_kind():
    assert triggers(Scene().play(opened("a", 0, kind=OTHER | {"pages": True}))) == ["critical"]


def noisy(days: int, series: int = 60) -> list[Anomaly]:
    """A fleet of which each series has an episode of evidence 4 to 9 every other day, which is nothing new."""
    events = []
    for day in range(days):
        for i in range(series):
            score = 4.0 + (i * 7 + day * 3) % 50 / 10.0
            events += (
                episode(f"{i}-{day}", DAY * day + i * 60.0, OTHER | {"pages": True}, f"s{i}", score=score)
                if (i + day) % 2
                else []
            )
    return sorted(events, key=lambda a: a.time)


def test_what_a_fleet_does_all_the_time_does_not_page_and_what_it_never_did_does():
    scene = Scene(default=10.0)
    scene.play(*noisy(42))
    (reading,) = scene.budgets.readings()
    assert reading.paged <= 1
    assert reading.under > 50
    quiet = opened("x", 42 * DAY, "quiet", LATENCY, score=30.0)
    assert triggers(scene.play(quiet)) == ["critical"]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 300), st.integers(0, 300))
def test_a_restart_at_any_event_changes_no_alert(first: int, second: int):
    events = noisy(10, 30)
    whole, parted, alerts = Scene(default=3.0), Scene(default=3.0), []
    for part in (events[:first], events[first : first + second], events[first + second :]):
        alerts += parted.play(*part)
        parted = parted.restart()
    assert alerts == whole.play(*events)
    assert parted.budgets.dump() == whole.budgets.dump()


def test_events_that_come_again_pay_and_feed_once():
    events = noisy(5, 30)
    once, twice = Scene(default=3.0), Scene(default=3.0)
    once.play(*events)
    twice.play(*(event for e in events for event in (e, e)))
    assert twice.budgets.dump() == once.budgets.dump()


def test_the_number_of_budgets_is_bounded():
    budgets = Budgets({"default": 1.0})
    for i in range(2 * ENVIRONMENTS):
        budgets.of(f"env{i}", "g")
    assert len(msgspec.msgpack.decode(budgets.dump())["kept"]) <= ENVIRONMENTS + 1


def test_budgets_of_a_later_version_are_refused():
    body = msgspec.msgpack.encode(msgspec.msgpack.decode(Budgets({}).dump()) | {"version": 2, "kept": "of another type"})
    with pytest.raises(Newer, match="format 2 of alert budgets"):
        Budgets({}).load(body)


def test_another_ceiling_goes_on_with_what_was_learned():
    scene = Scene(default=2.0)
    scene.play(*noisy(5, 30))
    other = Budgets({"default": 1.0})
    other.load(scene.budgets.dump())
    (before,), (after,) = scene.budgets.readings(), other.readings()
    assert (after.series, after.under, after.per_week) == (before.series, before.under, 1.0)


def test_what_the_next_budgets_would_have_paged_is_at_most_what_they_are_and_grows():
    scene = Scene(default=10.0)
    scene.play(*noisy(28))
    (reading,) = scene.budgets.readings()
    lower, higher = reading.others
    assert (lower.per_week, higher.per_week) == (3.0, 30.0)
    assert lower.paged <= higher.paged <= 30.0
    assert lower.threshold >= higher.threshold


def test_what_one_value_says_is_a_ticket_until_a_second_one_says_it_too():
    """However far off it is: most of what fault-free noise does is over with the first value."""
    scene = Scene()
    a = opened("a", 0, score=40.0, alone=True)
    (ticket,) = scene.play(a)
    assert (ticket.severity.value, ticket.reduced_by) == ("warning", (REDUCED["alone"],))
    assert "of one value so far" in ticket.why
    (page,) = scene.play(grown(a, 300, alone=False))
    assert (page.event.value, page.severity.value, page.reduced_by) == ("update", "critical", ())
    (reading,) = scene.budgets.readings()
    assert (reading.paged, reading.under) == (1, 1)


def test_what_stays_one_value_never_pages_and_costs_nothing():
    scene = Scene()
    for i in range(20):
        a = opened(f"a{i}", i * 1000, f"g{i}", alone=True)
        assert "critical" not in triggers(scene.play(a, closed(a, i * 1000 + 600)))
    (reading,) = scene.budgets.readings()
    assert (reading.paged, reading.under, reading.raised) == (0, 20, 0.0)


def test_the_floor_of_evidence_is_one_of_pages_by_series():
    """Ten times as many series under ten times the budget need what they needed; more series alone need more."""
    assert floor(100.0, 20_000) == pytest.approx(floor(10.0, 2_000))
    assert floor(10.0, 20_000) > floor(10.0, 2_000) > floor(100.0, 2_000)
    assert floor(10.0, 3) == floor(10.0, FLEET)  # a fleet that is hardly known yet is not taken for a small one


def test_in_a_fleet_that_is_known_a_value_needs_more_evidence_than_k_of_n_and_a_larger_budget_less():
    """A score of 7.5 among the values of a fleet is nothing yet at ten a week, and a page at a hundred."""
    pages = {}
    for per_week in (10.0, 100.0):
        scene = Scene(default=per_week)
        scene.play(*noisy(28))
        value, ratio = (opened(k, 28 * DAY, k, what, score=7.5) for k, what in (("v", LATENCY), ("r", ERRORS)))
        pages[per_week] = triggers(scene.play(value)) + triggers(scene.play(ratio))
    assert pages == {10.0: ["warning", "critical"], 100.0: ["critical", "critical"]}


def test_faults_of_many_series_do_not_keep_the_next_ones_from_being_told():
    """Twenty services that never did so fail within a week, a hundred a week being allowed: each is a page."""
    scene = Scene(default=100.0)
    scene.play(*noisy(28))
    told = [triggers(scene.play(*episode(f"f{i}", 28 * DAY + i * 20_000, LATENCY, score=11.0))) for i in range(20)]
    assert told == [["critical"]] * 20
