"""Who calls whom, as detect tells it: counted from the blocks that spans become, whatever their borders."""

import numpy as np
from tests.decode.otlp_requests import NOW
from tests.decode.span_requests import request, span

from anomaly.config.settings import Settings, SourceSettings
from anomaly.decode.block import Announced
from anomaly.decode.identity import Series
from anomaly.decode.points import Kind, Points
from anomaly.decode.records import Records
from anomaly.decode.spans_series import REQUESTS
from anomaly.decode.stage import Decode
from anomaly.detect.beside import Calls
from anomaly.detect.calls import EVERY, SERIES, CallCounts

SOURCE = SourceSettings(topic="spans", encoding="otlp_spans_proto")
SHOP = Series(7, 1, "e", "shop", REQUESTS, "", (("client", "web"),), (), Kind.DELTA)
CONNECTOR = Series(
    9, 1, "e", "collector", "traces_service_graph_request_total", "", (("client", "web"), ("server", "db")), (), Kind.COUNTER
)


def points(*told: tuple[int, int, float], kind: Kind = Kind.DELTA) -> Points:
    found = Points.empty(len(told))
    found.series[:], found.time[:], found.value[:] = (np.array(column) for column in zip(*told, strict=True))
    found.kind[:] = kind
    return found


def said(calls: list[Calls]) -> list[tuple[str, str, float, int]]:
    return [(c.caller, c.callee, c.calls, c.time - NOW) for c in calls]


def test_calls_are_told_of_the_blocks_that_spans_become():
    counts, decode, found = CallCounts(100), Decode(Settings(), 1), list[Calls]()
    for i in range(3):
        chain = [
            span("/", "web", 2, own=1, trace=i),
            span("GET shop", "web", 3, own=2, parent=1, trace=i),
            span("/shop", "shop", 2, own=3, parent=2, trace=i),
            span("SELECT", "shop", 3, own=4, parent=3, trace=i),
            span("query", "db", 2, own=5, parent=4, trace=i),
        ]
        blocks, _ = decode.blocks(SOURCE, Records.of([request(*chain)], "spans", 0, i))
        for _, block in blocks:
            counts.announced(block.series)
            found += counts.take(block.points)
    assert sorted((c.caller, c.callee, c.calls) for c in found) == [("shop", "db", 1), ("web", "shop", 1)]


def test_they_are_told_at_first_sight_and_then_once_a_minute_of_data_time():
    counts = CallCounts(100)
    counts.announced(Announced.of([SHOP]))
    seconds = [(7, NOW + 1_000 * s, 2.0) for s in range(130)]
    assert said(list(counts.take(points(*seconds)))) == [
        ("web", "shop", 2, 0), ("web", "shop", 120, EVERY), ("web", "shop", 120, 2 * EVERY)
    ]  # fmt: skip


def test_a_counter_is_told_by_its_differences_and_its_reset_is_none():
    counts = CallCounts(100)
    counts.announced(Announced.of([CONNECTOR]))
    told = [(9, NOW, 1000.0), (9, NOW + 1, 1004.0), (9, NOW + EVERY, 1010.0), (9, NOW + EVERY + 1, 3.0)]
    assert said(list(counts.take(points(*told, kind=Kind.COUNTER)))) == [("web", "db", 4, 1), ("web", "db", 9, EVERY + 1)]


def test_a_cut_and_a_restart_in_the_middle_change_nothing():
    seconds = [(7, NOW + 900 * s, 1.0) for s in range(200)]
    whole, cut = CallCounts(100), CallCounts(100)
    whole.announced(Announced.of([SHOP]))
    cut.announced(Announced.of([SHOP]))
    found = list(cut.take(points(*seconds[:77])))
    after = CallCounts(100)
    after.load(cut.dump(), same_seed=True)
    assert [*found, *after.take(points(*seconds[77:]))] == list(whole.take(points(*seconds)))
    assert after.dump() == whole.dump()


def test_past_the_limit_the_first_gives_way_and_it_is_counted():
    counts = CallCounts(10)
    many = [Series(i + 1, 1, "e", f"s{i}", REQUESTS, "", (("client", "web"),), (), Kind.DELTA) for i in range(1_000)]
    counts.announced(Announced.of(many))
    assert counts.over == 990
    assert len(counts._who) <= SERIES * 10
