"""Which service calls which, learned from the calls that detect tells of, and forgotten where they end.

An edge's weight is the number of its calls, halved every HALF of data time; below FAINT it is no edge any more. Calls
that are not newer than what is known of their edge were told before. Per environment; at most `most` edges, past which
the faintest gives way. Walks are remembered until an edge comes or goes, or for FRESH ms: an outage asks thousands of
times for the same. Weak where only some calls are seen (sampling, halves on two partitions): weights are then shares, and
edges are right.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from anomaly.detect.beside import Calls
from anomaly.detect.portable import faded

HALF = 3_600_000  # ms
LN2 = 0.6931471805599453
FAINT = 0.05  # calls: one call is an edge for four hours
FRESH = 60_000  # ms: by how much an edge may outlive its end
BELOW, ABOVE, AROUND = "below", "above", "around"
VERSION = 2

Who = tuple[str, str, str]  # environment, caller, callee


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


class GraphMemory(msgspec.Struct, frozen=True, array_like=True):
    """What is kept: version; edges (environment, caller, callee, weight)."""

    version: int = VERSION
    edges: list[tuple[str, str, str, Weight]] = []


class ServiceGraph:
    """The edges of all environments."""

    def __init__(self, most: int = 10_000) -> None:
        self.most, self.refused = most, 0
        self._edges: dict[Who, Weight] = {}
        self._known: dict[str, int] = {}  # environment -> the FRESH of time that what is remembered of it is of
        self._near: dict[tuple[str, str], dict[str, list[str]]] = {}
        self._walks: dict[tuple[str, str, int, str], dict[str, int]] = {}

    def __len__(self) -> int:
        return len(self._edges)

    def learn(self, said: Calls) -> None:
        """Take what is told of an edge."""
        key = said.environment, said.caller, said.callee
        held = self._edges.get(key)
        if held is None:
            if len(self._edges) >= self.most:
                self._make_room(said.time)
            self._edges[key] = Weight(said.calls, said.time)
            self._forget(said.environment)
        elif said.time > held.time:
            if held.at(said.time) < FAINT:
                self._forget(said.environment)
            held.calls, held.time = held.at(said.time) + said.calls, said.time

    def edges(self, environment: str, now: int) -> list[Edge]:
        """The edges of an environment, the busiest first."""
        found = [
            Edge(caller, callee, calls)
            for (e, caller, callee), weight in self._edges.items()
            if e == environment and (calls := weight.at(now)) >= FAINT
        ]
        return sorted(found, key=lambda edge: (-edge.calls, edge))

    def around(self, environment: str, group: str, hops: int, now: int) -> Mapping[str, int]:
        """The services within so many hops, in either direction, with their distance; the group itself at 0."""
        return self._walk(environment, group, hops, AROUND, now)

    def below(self, environment: str, group: str, now: int) -> Mapping[str, int]:
        """The services that a service depends on, with their distance; itself at 0."""
        return self._walk(environment, group, self.most, BELOW, now)

    def above(self, environment: str, group: str, now: int) -> Mapping[str, int]:
        """The services that depend on a service, with their distance; itself at 0."""
        return self._walk(environment, group, self.most, ABOVE, now)

    def memory(self) -> GraphMemory:
        """What is to be kept."""
        return GraphMemory(VERSION, [(*key, Weight(w.calls, w.time)) for key, w in self._edges.items()])

    def remember(self, memory: GraphMemory) -> None:
        """Go on with what was kept."""
        self._edges = {(e, caller, callee): Weight(w.calls, w.time) for e, caller, callee, w in memory.edges}
        self._known.clear()

    def _make_room(self, now: int) -> None:
        """Let go of the faintest edge, the first by name of several."""
        self.refused += 1
        faintest = min(self._edges, key=lambda key: (self._edges[key].at(now), key))
        del self._edges[faintest]
        self._forget(faintest[0])

    def _forget(self, environment: str) -> None:
        """What is remembered of an environment is not right any more."""
        self._known.pop(environment, None)

    def _walk(self, environment: str, group: str, hops: int, which: str, now: int) -> Mapping[str, int]:
        if not self._edges:
            return {group: 0}
        if self._known.get(environment) != now // FRESH:
            self._look(environment, now // FRESH)
        key = environment, group, hops, which
        if key not in self._walks:
            self._walks[key] = walk(self._near[environment, which], group, hops)
        return self._walks[key]

    def _look(self, environment: str, fresh: int) -> None:
        """Remember who is beside whom, as of the beginning of this FRESH."""
        self._walks = {key: found for key, found in self._walks.items() if key[0] != environment}
        below: dict[str, set[str]] = defaultdict(set)
        above: dict[str, set[str]] = defaultdict(set)
        for edge in self.edges(environment, fresh * FRESH):
            below[edge.caller].add(edge.callee)
            above[edge.callee].add(edge.caller)
        around = {group: below.get(group, set()) | above.get(group, set()) for group in {*below, *above}}
        for which, near in ((BELOW, below), (ABOVE, above), (AROUND, around)):
            self._near[environment, which] = {group: sorted(others) for group, others in near.items()}
        self._known[environment] = fresh


def walk(near: Mapping[str, list[str]], group: str, hops: int) -> dict[str, int]:
    """Everybody within so many hops, the nearest first, with their distance."""
    found, ring = {group: 0}, [group]
    for distance in range(1, hops + 1):
        ring = sorted({other for each in ring for other in near.get(each, ())} - found.keys())
        if not ring:
            break
        found |= dict.fromkeys(ring, distance)
    return found
