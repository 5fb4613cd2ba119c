"""What waits for a receiver, and in which order it goes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.dispatch.standins import alert

from anomaly.dispatch.alert import Alert
from anomaly.dispatch.outbox import Outbox, Put


def drained(outbox: Outbox) -> list[tuple[str, str]]:
    """Everything that waits, as it would be sent: event and id."""
    found = []
    while waiting := outbox.take():
        found.append((waiting.alert.event.value, waiting.alert.id))
        outbox.sent()
    return found


def filled(*alerts: Alert) -> Outbox:
    outbox = Outbox()
    for each in alerts:
        outbox.put(each)
    return outbox


def test_good_news_first_then_what_is_critical_then_the_oldest():
    outbox = filled(
        alert(key="a", severity="warning"), alert(key="b", severity="info"), alert(key="c"), alert(key="d"),
        alert("resolve", key="e", change=2, severity="warning"),
    )  # fmt: skip
    assert [i for _, i in drained(outbox)] == ["e2", "c1", "d1", "a1", "b1"]


def test_an_incident_that_is_over_before_anybody_was_told_is_not_told():
    outbox = filled(alert(), alert("update", change=2))
    assert outbox.put(alert("resolve", change=3)) is Put.OVERTAKEN
    assert drained(outbox) == []


def test_an_update_takes_the_place_of_the_trigger_nobody_has_heard_of():
    assert drained(filled(alert(), alert("update", change=2))) == [("trigger", "k2")]


def test_of_several_updates_the_newest_is_sent():
    outbox = filled(alert())
    assert drained(outbox) == [("trigger", "k1")]
    for change in (2, 3, 4):
        outbox.put(alert("update", change=change))
    assert drained(outbox) == [("update", "k4")]


def test_a_resolve_follows_a_trigger_that_may_have_arrived():
    outbox = filled(alert())
    outbox.take()
    outbox.put(alert("resolve", change=2))
    outbox.back()  # a time-out: nobody knows
    assert drained(outbox) == [("resolve", "k2")]

    again = Outbox()
    again.put(alert(), perhaps_sent=True)  # by the process before this one
    again.put(alert("resolve", change=2))
    assert drained(again) == [("resolve", "k2")]


def test_what_is_being_sent_keeps_its_place_before_what_came_after():
    outbox = filled(alert())
    outbox.take()
    outbox.put(alert("update", change=2))
    outbox.sent()
    assert drained(outbox) == [("update", "k2")]


def test_a_key_that_is_used_again_keeps_its_order():
    """Blindness has one key for each reason, for ever."""
    outbox = filled(alert())
    drained(outbox)
    outbox.put(alert("resolve", change=2))
    outbox.put(alert("trigger", change=3))
    assert drained(outbox) == [("resolve", "k2"), ("trigger", "k3")]

    outbox.put(alert("resolve", change=4))
    outbox.put(alert("trigger", change=5))
    outbox.put(alert("resolve", change=6))
    assert drained(outbox) == [("resolve", "k4")]


@pytest.mark.parametrize("told", [1, 2, 3])
def test_the_topic_read_again_tells_nobody_anything_again(told: int):
    """Whatever had been sent, and whatever had given way to something newer."""
    story = [alert(), alert("update", change=2), alert("resolve", change=3)]
    outbox = filled(*story[:told])
    drained(outbox)
    for each in story[told:]:
        outbox.put(each)
        drained(outbox)
    assert [outbox.put(each) for each in story] == [Put.REPEATED] * 3
    assert drained(outbox) == []


def test_an_alert_that_fails_again_and_again_lets_others_pass():
    outbox = filled(alert("resolve", key="poison"), alert(key="other", severity="info"))
    for _ in range(3):
        waiting = outbox.take()
        assert waiting
        assert waiting.alert.dedup_key == "poison"
        outbox.back()
    assert [i for _, i in drained(outbox)] == ["other1", "poison1"]


def test_a_full_outbox_has_room_for_news_of_what_waits_only():
    outbox = Outbox(room=2)
    outbox.put(alert(key="a"))
    assert outbox.has_room(alert(key="b"))
    outbox.put(alert(key="b"))
    assert not outbox.has_room(alert(key="c"))
    assert outbox.has_room(alert("resolve", key="a", change=2))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["next", "take", "fail"])), max_size=40))
def test_whatever_happens_a_receiver_ends_with_the_last_state_of_each_incident(steps: list[tuple[str, str]]):
    """Receivers with keys: what is open at theirs after all is sent is what is open here."""
    outbox, theirs, ours, change = Outbox(), dict[str, str](), dict[str, str](), 0

    def send(arrives: bool) -> None:
        waiting = outbox.take()
        if waiting:
            theirs[waiting.alert.dedup_key] = waiting.alert.event.value
            outbox.sent() if arrives else outbox.back()

    for key, step in steps:
        if step == "next":
            change += 1
            following = {"": "trigger", "trigger": "update", "update": "resolve", "resolve": "trigger"}
            ours[key] = following[ours.get(key, "")]
            outbox.put(alert(ours[key], key=key, change=change))
        else:
            send(step == "take")
    while len(outbox):
        send(True)
    is_open = {k: v != "resolve" for k, v in ours.items()}
    assert {k: theirs.get(k, "resolve") != "resolve" for k in ours} == is_open
