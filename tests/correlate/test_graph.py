"""The service graph: learned from the calls in blocks, faded by time, bounded, kept."""

import msgspec
import pytest
from tests.decode.otlp_requests import NOW
from tests.decode.span_requests import request, span

from anomaly.config.settings import Settings, SourceSettings
from anomaly.correlate.graph import HALF, Memory, ServiceGraph
from anomaly.decode.records import Records
from anomaly.decode.stage import Decode

SOURCE = SourceSettings(topic="spans", encoding="otlp_spans_proto")


def test_it_is_learned_from_the_blocks_that_spans_become():
    graph, decode = ServiceGraph(), Decode(Settings(), 1)
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
            graph.learn(block)
    assert [(e.caller, e.callee, e.calls) for e in graph.edges("default", NOW)] == [("shop", "db", 3), ("web", "shop", 3)]
    assert graph.around("default", "web", 1, NOW) == {"web": 0, "shop": 1}
    assert graph.around("default", "db", 2, NOW) == {"db": 0, "shop": 1, "web": 2}
    assert graph.below("default", "shop", NOW) == {"shop": 0, "db": 1}
    assert graph.edges("another", NOW) == []


def test_an_edge_fades_by_half_and_ends():
    graph = ServiceGraph()
    graph.add("e", "a", "b", 8.0, NOW)
    graph.add("e", "a", "b", 8.0, NOW + HALF)
    assert graph.edges("e", NOW + HALF)[0].calls == pytest.approx(12.0)
    graph.add("e", "a", "b", 8.0, NOW)  # late by a half-life
    assert graph.edges("e", NOW + HALF)[0].calls == pytest.approx(16.0)
    assert graph.edges("e", NOW + 10 * HALF) == []
    assert graph.below("e", "a", NOW + 10 * HALF) == {"a": 0}


def test_past_the_limit_the_faintest_edge_gives_way_and_it_is_counted():
    graph = ServiceGraph(most=100)
    for i in range(1_000):
        graph.add("e", "a", f"b{i % 50}" if i % 2 else f"c{i}", 1.0, NOW + i)
    assert len(graph) == 100
    assert graph.refused > 0
    assert {f"b{i}" for i in range(1, 50, 2)} <= {e.callee for e in graph.edges("e", NOW + 1_000)}


def test_loops_and_calls_in_both_directions_end():
    graph = ServiceGraph()
    for caller, callee in ("ab", "bc", "ca", "ba"):
        graph.add("e", caller, callee, 1.0, NOW)
    assert graph.below("e", "a", NOW) == {"a": 0, "b": 1, "c": 2}
    assert graph.around("e", "a", 5, NOW) == {"a": 0, "b": 1, "c": 1}


def test_what_is_kept_is_what_goes_on():
    graph, again = ServiceGraph(), ServiceGraph()
    graph.add("e", "a", "b", 3.0, NOW)
    kept = msgspec.msgpack.decode(msgspec.msgpack.encode(graph.memory()), type=Memory)
    again.remember(kept)
    for each in (graph, again):
        each.add("e", "a", "b", 2.0, NOW + HALF)
    assert again.edges("e", NOW + HALF) == graph.edges("e", NOW + HALF)
