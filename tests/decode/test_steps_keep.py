"""Traces that are open when a process ends: another goes on with them, and tells nothing false of what was lost between."""

from collections import Counter
from functools import cache
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.decode.test_steps import LINES, SPANS, Fed, L, S, line_record, span_record

from anomaly.decode import steps_keep
from anomaly.decode.steps import INTERRUPTED, LATE, SLACK
from anomaly.decode.steps_memory import Memory
from anomaly.decode.steps_series import NEXT, STEP, STEPS, TOTAL

SECONDS = 50


def story() -> list[tuple[str, int, bytes]]:
    """Encoding, when it came (ms), and a record: every second a trace of two services with lines, which comes in four."""
    told = []
    for t in range(SECONDS):
        trace, at = t + 1, 1000 * t
        told += [
            (LINES, at + 300, line_record([L(trace, 1, "a", at + 100, "received"), L(trace, 3, "b", at + 250, "stored")])),
            (SPANS, at + 600, span_record([S(trace, 3, 2, "b", "PUT", at + 200, at + 500)])),
            (SPANS, at + 850, span_record([
                S(trace, 2, 1, "a", "PUT b", at + 150, at + 600, 3), S(trace, 1, 0, "a", "GET", at, at + 800),
            ])),
            (LINES, at + 900, line_record([L(trace, 1, "a", at + 700, "answered"), L(0, 0, "b", at + 880, "tick")])),
        ]  # fmt: skip
    return told


def feed(fed: Fed, told: list[tuple[str, int, bytes]]) -> Fed:
    for encoding, _, value in told:
        fed.take(encoding, [value])
    return fed


def steps(fed: Fed) -> Counter[Any]:
    return Counter({key: n for key, n in fed.sum.items() if key[0] == STEPS and key[1] != "clock"})


@cache
def undisturbed() -> Counter[Any]:
    fed = feed(Fed(), story())
    fed.close()
    return steps(fed)


def restarted(cut: int, lost: int, kept: bool = True, exactly: bool = False) -> tuple[Counter[Any], Fed]:
    """What is told where a process ends after `cut` records, and another begins `lost` records later."""
    told = story()
    before, after = feed(Fed(), told[:cut]), Fed()
    steps_keep.load(after.decode, steps_keep.dump(before.decode) if kept else b"", lost=not exactly)
    feed(after, told[cut + lost :]).close()
    return steps(before) + steps(after), after


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 4 * SECONDS - 1))
def test_where_no_record_is_lost_the_same_is_told_as_without_a_stop(cut):
    assert restarted(cut, 0, exactly=True)[0] == undisturbed()


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize(("cut", "lost"), [(101, 0), (102, 3), (103, 1), (98, 30)])
def test_where_records_are_lost_no_step_is_told_that_was_none(cut, lost, kept):
    """Nor one in a trace of which something is missing, which would make others rare; what is far from the stop is told."""
    whole, (found, fed) = undisturbed(), restarted(cut, lost, kept)
    assert not found - whole
    assert fed.decode.counts[INTERRUPTED] > 0
    began, went_on = 250 * cut - SLACK - 2_000, 250 * (cut + lost) + 3 * SLACK
    if kept:
        assert {k: n for k, n in found.items() if k[3] + 10_000 < began} == {
            k: n for k, n in whole.items() if k[3] + 10_000 < began
        }
    assert {k: n for k, n in found.items() if k[3] > went_on} == {k: n for k, n in whole.items() if k[3] > went_on}
    by_context = Counter[Any]()
    for (_, group, labels, cell), n in found.items():
        by_context[group, dict(labels)["span.name"], dict(labels)[STEP], cell] += n if NEXT in dict(labels) else -n
    assert not any(by_context.values())


def test_without_the_rule_something_false_would_be_told():
    """The test above tests something."""
    told = story()
    before, after = feed(Fed(), told[:102]), Fed()
    steps_keep.load(after.decode, steps_keep.dump(before.decode))
    feed(after, told[105:]).close()
    assert (steps(before) + steps(after)) - undisturbed()


def test_what_an_earlier_version_wrote_is_read_and_what_a_later_one_did_is_not():
    fed = feed(Fed(), story()[:30])
    assert fed.decode.steps
    data = fed.decode.steps.dump()
    old = {name: value for name, value in msgspec.msgpack.decode(data).items() if name not in ("gap", "version")}
    other = Fed()
    assert other.decode.steps
    other.decode.steps.load(msgspec.msgpack.encode(old))
    assert other.decode.steps.held.size == fed.decode.steps.held.size > 0
    newer = msgspec.structs.replace(msgspec.msgpack.decode(data, type=Memory), version=99)
    with pytest.raises(Exception, match="format 99"):
        other.decode.steps.load(msgspec.msgpack.encode(newer))


def test_under_another_key_of_the_identity_nothing_is_held():
    fed, other = feed(Fed(), story()[:30]), Fed()
    rest = msgspec.msgpack.decode(steps_keep.dump(fed.decode)) | {"key": "other"}
    steps_keep.load(other.decode, msgspec.msgpack.encode(rest))
    assert other.decode.steps
    assert other.decode.steps.held.size == 0


def test_a_caller_that_ends_long_after_all_that_came_of_it_is_late_and_counted():
    """Of the rest of its trace is told what can be; of its own steps nothing."""
    fed = Fed()
    fed.take(SPANS, [span_record([S(1, 2, 1, "b", "PUT", 10, 50)])])
    for t in range(1, 40):
        fed.take(SPANS, [span_record([S(100 + t, 1, 0, "clock", "tick", 1000 * t, 1000 * t)])])
    fed.take(SPANS, [span_record([S(1, 1, 0, "a", "GET", 0, 39_500)])])
    fed.close()
    assert fed.decode.counts[LATE] == 1
    assert {key[1] for key in fed.sum if key[0] == STEPS} == {"b", "clock"}
    assert not [key for key in fed.sum if key[0] == TOTAL and key[1] == "a"]


def test_a_call_is_a_step_of_the_server_that_makes_it_and_not_of_its_clients_span():
    """It begins when the client's span does, whatever the callee's clock says."""
    fed = Fed()
    fed.take(SPANS, [span_record([
        S(1, 1, 0, "a", "GET", 0, 100), S(1, 2, 1, "a", "PUT b", 20, 90, 3), S(1, 3, 2, "b", "PUT", 5, 60),
        S(1, 4, 1, "a", "GET c", 10, 95, 3), S(1, 5, 4, "c", "GET", 70, 80),
    ])])  # fmt: skip
    fed.close()
    found = {
        (k[1], dict(k[2])["span.name"], dict(k[2])[STEP], dict(k[2])[NEXT])
        for k in fed.sum
        if k[0] == STEPS and len(k[2]) == 3
    }
    assert {step for step in found if step[0] == "a"} == {
        ("a", "GET", "start", "call c GET"), ("a", "GET", "call c GET", "call b PUT"), ("a", "GET", "call b PUT", "end"),
        ("a", "PUT b", "start", "end"), ("a", "GET c", "start", "end"),
    }  # fmt: skip
