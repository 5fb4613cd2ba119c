"""Which judged rows a series feeds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.detect.feed import DEFAULT, series

from anomaly.config.models import Errors, Match, Model, ModelSpec, Signal, Sum
from anomaly.decode.block import Announced
from anomaly.decode.identity import Series
from anomaly.decode.points import Kind
from anomaly.detect.judge import Judge
from anomaly.detect.plans import Part, is_error, part_of
from anomaly.detect.register import Register

LATENCY = ModelSpec(name="latency", match=(Match(metric=("http*",)),), signal=Signal.LATENCY, sum=Sum.GROUP)
TRAFFIC = ModelSpec(name="traffic", match=(Match(metric=("http*",)),), signal=Signal.TRAFFIC, sum=Sum.GROUP, members=False)
FAILED = Errors(label=("code", "status"), value=("5*", "ERROR"))
ERRORS = ModelSpec(
    name="errors", match=(Match(metric=("http*",)),), signal=Signal.ERRORS, model=Model.RATIO, sum=Sum.GROUP, errors=FAILED
)
IGNORED = ModelSpec(name="ignore", match=(Match(metric=("*_info",)),), model=Model.IGNORE)
SPECS = (LATENCY, TRAFFIC, ERRORS, IGNORED, DEFAULT)


def subjects(*found: object) -> list[tuple[str, str, str, bool]]:
    """(metric, quantity, spec, aggregate) of what is judged once these series are registered."""
    register = Register(SPECS, Judge(SPECS))
    for s in found:
        register.add(s, 0, 10_000, True)  # type: ignore[arg-type]
    return [(s.metric, s.quantity, SPECS[s.spec].name, s.instance is None) for s in register.subjects]


def test_a_request_histogram_is_latency_traffic_and_errors_at_once():
    """One series, three specs, five judged rows, all of the group."""
    found = subjects(*(series("http.d", Kind.HISTOGRAM, "s", (0.1, 0.2), code=c) for c in ("200", "500")))

    assert sorted(found) == [
        ("http.d", "error ratio", "errors", True),
        ("http.d", "mean", "latency", True),
        ("http.d", "p95", "latency", True),
        ("http.d", "p99", "latency", True),
        ("http.d", "rate", "traffic", True),
    ]


def test_a_gauge_is_judged_by_itself_and_over_its_instances():
    """Two instances, one sum; labels keep series apart."""
    found = subjects(*(series("queue", name=n, service__instance__id=i) for n in "xy" for i in "ab"))

    assert found.count(("queue", "value", "default", False)) == 4
    assert found.count(("queue", "value", "default", True)) == 2


def test_what_is_ignored_is_not_judged():
    """It has a row, so that its points are counted as ignored."""
    assert subjects(series("build_info")) == []


@pytest.mark.parametrize(
    ("metric", "labels", "part"),
    [
        ("d_bucket", {"le": "0.5"}, Part("d", -1, 0.5)),
        ("d_bucket", {"le": "+Inf"}, Part("d", -1, float("inf"))),
        ("d_bucket", {"le": "cheap"}, Part("d", -1, None)),
        ("d_count", {}, Part("d", 1, None)),
        ("d_sum", {}, Part("d", 2, None)),
        ("d_bucket", {}, None),
        ("d_total", {}, None),
        ("_count", {}, None),
    ],
)
def test_parts_of_classic_histograms_are_known_by_name_and_bound(metric: str, labels: dict[str, str], part: Part | None):
    """A bucket without a bound is a counter of buckets, whatever those are."""
    assert part_of(series(metric, Kind.COUNTER, "", (), **labels)) == part
    assert part_of(series(metric, Kind.GAUGE, "", (), **labels)) is None


def test_a_series_is_an_error_by_the_first_label_that_it_has():
    """`code` speaks before `status`, and no label is no error."""
    assert is_error(FAILED, (("code", "503"),))
    assert is_error(FAILED, (("status", "ERROR"),))
    assert not is_error(FAILED, (("code", "200"), ("status", "ERROR")))
    assert not is_error(FAILED, ())


SOME = st.sampled_from(["a", "b", "c"])
COUNTERS = st.builds(
    lambda metric, service, route, i, told, code: series(
        metric, Kind.COUNTER, service=service, route=route, service__instance__id=i, **{told: code}
    ),
    st.sampled_from(["http_requests_total", "http_calls_total", "jobs_total", "http_d_count"]),
    SOME, SOME, SOME,
    st.sampled_from(["code", "status", "method"]),
    st.sampled_from(["200", "500", "ERROR", "GET"]),
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.lists(COUNTERS, max_size=60, unique_by=lambda s: s.hash), st.sampled_from(list(Sum)), st.integers(1, 60))
def test_who_feeds_a_ratio_that_is_fed_already_is_entered_as_if_nobody_did(found: list[Series], over: Sum, size: int):
    """Without Python's help, in announcements of any size, the same rows come about as with it."""
    specs = (TRAFFIC, replace(ERRORS, sum=over), DEFAULT)

    def registered(helped: bool) -> list[bytes]:
        with pytest.MonkeyPatch.context() as patch:
            if helped:
                patch.setattr("anomaly.detect.register.Register._note_fed", lambda *_: None)
            register = Register(specs, Judge(specs))
            for at in range(0, len(found), 1 if helped else size):
                some = Announced.of(found[at : at + (1 if helped else size)])
                register.announce(some, 0, 10_000, np.ones(len(some), np.uint8))
        return [bytes(table.gather(1).data) for table in register.tables.all()]

    assert registered(False) == registered(True)


def test_many_new_services_at_once_find_room():
    """Each feeds a value, an aggregate and a ratio: what Python takes of the room that was made is made again."""
    specs = (TRAFFIC, ERRORS, DEFAULT)
    register = Register(specs, Judge(specs))
    some = Announced.of(
        series("http_requests_total", Kind.COUNTER, service=f"s{i}", code="200", route="/long" * 9) for i in range(3_000)
    )
    register.announce(some, 0, 10_000, np.ones(len(some), np.uint8))
    names = [s.group for s in register.subjects]
    assert sorted(names) == sorted(2 * [f"s{i}" for i in range(3_000)])
