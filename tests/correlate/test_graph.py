"""The service graph: learned from what detect tells of calls, faded by time, bounded, kept."""

import msgspec
import pytest
from tests.decode.otlp_requests import NOW

from anomaly.correlate.graph import HALF, GraphMemory, ServiceGraph
from anomaly.detect.beside import Calls


def calls(caller: str, callee: str, n: float = 1.0, time: int = NOW) -> Calls:
    return Calls(environment="e", caller=caller, callee=callee, calls=n, time=time)


def test_an_edge_fades_by_half_and_ends_and_what_comes_again_is_not_counted():
    graph = ServiceGraph()
    graph.learn(calls("a", "b", 8.0))
    graph.learn(calls("a", "b", 8.0, NOW + HALF))
    assert graph.edges("e", NOW + HALF)[0].calls == pytest.approx(12.0)
    graph.learn(calls("a", "b", 8.0, NOW + HALF))
    graph.learn(calls("a", "b", 8.0))
    assert graph.edges("e", NOW + HALF)[0].calls == pytest.approx(12.0)
    assert graph.below("e", "a", NOW + HALF) == {"a": 0, "b": 1}
    assert graph.edges("e", NOW + 10 * HALF) == []
    assert graph.below("e", "a", NOW + 10 * HALF) == {"a": 0}


def test_who_is_near_is_asked_in_both_directions_or_downwards_and_within_an_environment():
    graph = ServiceGraph()
    graph.learn(calls("web", "shop"))
    assert graph.around("e", "db", 2, NOW) == {"db": 0}
    graph.learn(calls("shop", "db"))
    assert graph.around("e", "web", 1, NOW) == {"web": 0, "shop": 1}
    assert graph.around("e", "db", 2, NOW) == {"db": 0, "shop": 1, "web": 2}
    assert graph.below("e", "shop", NOW) == {"shop": 0, "db": 1}
    assert graph.around("another", "web", 2, NOW) == {"web": 0}


def test_past_the_limit_the_faintest_edge_gives_way_and_it_is_counted():
    graph = ServiceGraph(most=100)
    for i in range(1_000):
        graph.learn(calls("a", f"b{i % 50}" if i % 2 else f"c{i}", 1.0, NOW + i))
    assert len(graph) == 100
    assert graph.refused > 0
    assert {f"b{i}" for i in range(1, 50, 2)} <= {e.callee for e in graph.edges("e", NOW + 1_000)}


def test_loops_and_calls_in_both_directions_end():
    graph = ServiceGraph()
    for caller, callee in ("ab", "bc", "ca", "ba"):
        graph.learn(calls(caller, callee))
    assert graph.below("e", "a", NOW) == {"a": 0, "b": 1, "c": 2}
    assert graph.around("e", "a", 5, NOW) == {"a": 0, "b": 1, "c": 1}


def test_what_is_kept_is_what_goes_on():
    graph, again = ServiceGraph(), ServiceGraph()
    graph.learn(calls("a", "b", 3.0))
    again.remember(msgspec.msgpack.decode(msgspec.msgpack.encode(graph.memory()), type=GraphMemory))
    for each in (graph, again):
        each.learn(calls("a", "b", 2.0, NOW + HALF))
    assert again.edges("e", NOW + HALF) == graph.edges("e", NOW + HALF)
