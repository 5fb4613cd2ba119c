"""Which service calls which, learned from the calls that go by, and forgotten where they end.

An edge's weight is the number of its calls, halved every HALF of data time; below FAINT it is no edge any more. It is
learned from blocks of points, from the series that count calls (`decode.spans_series.REQUESTS`): so it is a function of the
records below an offset, as all state is. Per environment; at most `most` edges, past which the faintest gives way.
Weak where only some calls are seen (sampling, halves on two partitions): weights are then shares, and edges are right.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import msgspec
import numpy as np

from anomaly.decode.block import Block
from anomaly.decode.spans_series import REQUESTS
from anomaly.detect.portable import faded

HALF = 3_600_000  # ms
LN2 = 0.6931471805599453
FAINT = 0.05  # calls: one call is an edge for four hours
VERSION = 1


def left(age: int) -> float:
    """The share of a weight that is left after so many ms."""
    return 1.0 - float(faded(LN2 * max(age, 0) / HALF))


class Edge(NamedTuple):
    """A service that calls another one, and how often it did of late."""

    caller: str
    callee: str
    calls: float


class Weight(msgspec.Struct, array_like=True):
    """Calls as of `time`, ms."""

    calls: float
    time: int

    def at(self, now: int) -> float:
        """What is left of them."""
        return self.calls * left(now - self.time)


class Memory(msgspec.Struct, frozen=True, array_like=True):
    """What is kept: version; series (hash, environment, caller, callee); edges (environment, caller, callee, weight)."""

    version: int
    series: list[tuple[int, str, str, str]]
    edges: list[tuple[str, str, str, Weight]]


class ServiceGraph:
    """The edges of all environments."""

    def __init__(self, most: int = 10_000) -> None:
        self.most, self.refused = most, 0
        self._series: dict[int, tuple[str, str, str]] = {}
        self._edges: dict[tuple[str, str, str], Weight] = {}

    def __len__(self) -> int:
        return len(self._edges)

    def learn(self, block: Block) -> None:
        """Take the calls of a block."""
        for one in block.series:
            client = dict(one.labels).get("client")
            if one.metric == REQUESTS and client and len(self._series) < 10 * self.most:
                self._series[one.hash] = one.environment, client, one.group
        if not self._series or not len(block.points):
            return
        points = block.points
        known = np.isin(points.series, np.fromiter(self._series, np.uint64, len(self._series)))
        for hashed, calls, time in zip(
            *(c[known].tolist() for c in (points.series, points.value, points.time)), strict=True
        ):
            self.add(*self._series[hashed], calls, time)

    def add(self, environment: str, caller: str, callee: str, calls: float, time: int) -> None:
        """Calls of one service by another, at a time in ms. Late ones count as what is left of them."""
        key = environment, caller, callee
        if key not in self._edges:
            if len(self._edges) >= self.most:
                self._make_room(time)
            self._edges[key] = Weight(0.0, time)
        held = self._edges[key]
        newest = max(held.time, time)
        held.calls, held.time = held.at(newest) + calls * left(newest - time), newest

    def edges(self, environment: str, now: int) -> list[Edge]:
        """The edges of an environment, the busiest first."""
        found = [
            Edge(caller, callee, calls)
            for (e, caller, callee), weight in self._edges.items()
            if e == environment and (calls := weight.at(now)) >= FAINT
        ]
        return sorted(found, key=lambda edge: (-edge.calls, edge))

    def around(self, environment: str, group: str, hops: int, now: int) -> dict[str, int]:
        """The services within so many hops, in either direction, with their distance; the group itself at 0."""
        return dict(self._walk(self._neighbours(environment, now, both=True), group, hops))

    def below(self, environment: str, group: str, now: int) -> dict[str, int]:
        """The services that a service depends on, with their distance; itself at 0."""
        return dict(self._walk(self._neighbours(environment, now, both=False), group, len(self._edges)))

    def memory(self) -> Memory:
        """What is to be kept."""
        series = [(hashed, *who) for hashed, who in self._series.items()]
        return Memory(VERSION, series, [(*key, weight) for key, weight in self._edges.items()])

    def remember(self, memory: Memory) -> None:
        """Go on with what was kept."""
        self._series = {hashed: (e, caller, callee) for hashed, e, caller, callee in memory.series}
        self._edges = {(e, caller, callee): weight for e, caller, callee, weight in memory.edges}

    def _make_room(self, now: int) -> None:
        """Let go of the faintest edge, the first by name of several."""
        self.refused += 1
        del self._edges[min(self._edges, key=lambda key: (self._edges[key].at(now), key))]

    def _neighbours(self, environment: str, now: int, both: bool) -> dict[str, set[str]]:
        found: dict[str, set[str]] = defaultdict(set)
        for edge in self.edges(environment, now):
            found[edge.caller].add(edge.callee)
            if both:
                found[edge.callee].add(edge.caller)
        return found

    def _walk(self, neighbours: dict[str, set[str]], group: str, hops: int) -> Iterator[tuple[str, int]]:
        seen, ring = {group}, [group]
        for distance in range(hops + 1):
            yield from ((each, distance) for each in ring)
            ring = sorted({n for each in ring for n in neighbours.get(each, ())} - seen)
            seen |= set(ring)
