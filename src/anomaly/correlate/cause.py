"""The likely causes of an incident, ranked by evidence weighed by its kind.

Per service: the families of evidence against it (`evidence`); the sequence family by how often the service is the first
odd thing in its traces. The shared end of slow edges is that service's network. A little less for each service below it
in the graph that is ill as well, and for each that begins late; more where it was changed just before. A place (node,
zone, version) that the ill ones share, more than chance gives them, is a finer cause of one service, and the cause where
it is of several.

The first-ranked one gives way only to one that leads it by LEAD, or stays before it for HOLD ms: people are not to be
told of each turn. Ties go to the first odd step, then by name. Weak where calls are not known: a caller may outrank what
it calls.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from msgspec import structs

from anomaly.correlate.evidence import (
    EDGE,
    FULL,
    NETWORK,
    SEQUENCE,
    SILENT,
    VOTING,
    family,
    strength,
    summed,
    weight,
)
from anomaly.correlate.graph import ServiceGraph
from anomaly.correlate.incident import Cause, Incident, is_strong
from anomaly.correlate.places import Place, Places
from anomaly.detect.anomaly import Anomaly
from anomaly.detect.beside import Change

KEPT, SHOWN = 5, 3  # causes of an incident, and anomalies of a cause
LEAD, HOLD = 1.25, 20_000
FIRST = 0.7  # of the weight of sequences, by the share of traces in which the service is the first odd thing
BELOW, COMPARABLE = 0.2, 0.5  # taken off for each ill one below that has at least this share of the evidence
LATER, LATE = 0.1, 60_000  # taken off at most for a late onset, and ms that are late
BEFORE, AFTER = 1_800_000, 30_000  # ms around the onset in which a change is suspicious
CHANGED, DEPENDENCY = 0.5, 0.25  # added for one just before, of the service itself or of what it calls
SAME = 2  # ms by which logs and spans jitter: who comes first is not known
RARE = 0.01  # chance of so many ill ones at a place
MANY = 5  # groups of which most must suffer from the cause, else the problem is a systemic one
EXPLAINED = 1.3  # so much more than its worst service a place explains


class Votes(NamedTuple):
    """By service: in how many traces it shows, and in how many of these it is the first that does."""

    shows: Mapping[str, int]
    first: Mapping[str, int]
    odd: Mapping[str, Mapping[str, int]]  # by trace, when each service was first odd, ms

    def share(self, group: str) -> float:
        """How often it is the first; 1 where nothing is known."""
        return self.first.get(group, 0) / self.shows[group] if self.shows.get(group) else 1.0

    def follows(self, group: str, cause: str) -> bool:
        """Whether a service is odd only behind another one, as far as their traces tell."""
        common = [times for times in self.odd.values() if group in times and cause in times]
        if common:
            return 2 * sum(times[cause] <= times[group] + SAME for times in common) > len(common)
        return not self.shows.get(group) or self.share(group) < 0.5


class Causes:
    """Explains incidents by what is known of calls, places and changes."""

    def __init__(self, graph: ServiceGraph, places: Places) -> None:
        self._graph, self._places = graph, places

    def explain(self, incident: Incident, now: int) -> None:
        """Write the ranked causes, the victims and the rival into the incident."""
        if incident.kind:
            return
        strong = [a for a in incident.anomalies.values() if is_strong(a)]
        votes = self._votes(incident.environment, strong, now)
        ranked = self._ranked(incident, strong, votes, now) if strong else []
        ranked, incident.rival = self._settled(incident, ranked, now)
        incident.causes = tuple(ranked[:KEPT])
        incident.victims, incident.systemic = (), False
        if ranked:
            self._spread(incident, ranked[0], votes, now)

    def due(self, incident: Incident) -> int | None:
        """When the first cause gives way, or its groups are said to be these, if nothing happens before."""
        times = [t + HOLD for t in (incident.widened, incident.rival[1]) if t]
        return min(times, default=None)

    def _settled(self, incident: Incident, ranked: list[Cause], now: int) -> tuple[list[Cause], tuple[str, int]]:
        """The first one stays first while nobody is clearly before it; and who is its rival, since when."""
        held = next((c for c in ranked if incident.causes and c.name == incident.causes[0].name), None)
        if held is None or held is ranked[0] or ranked[0].score >= LEAD * held.score:
            return ranked, ("", 0)
        name, since = incident.rival if incident.rival[0] == ranked[0].name else (ranked[0].name, now)
        if now - since >= HOLD:
            return ranked, ("", 0)
        return [held, *(c for c in ranked if c is not held)], (name, since)

    def _ranked(self, incident: Incident, strong: Sequence[Anomaly], votes: Votes, now: int) -> list[Cause]:
        evidence = accused(strong)
        weights = {group: weigh(families, votes.share(group)) for group, families in evidence.items()}
        onset = {group: min(a.started for a in strong if a.group == group) for group in {a.group for a in strong}}
        began = min(onset.values())
        found = []
        for group, families in evidence.items():
            near = self._graph.below(incident.environment, group, now)
            ill = [
                other for other in weights
                if other != group and other in near and weights[other] >= COMPARABLE * weights[group]
                and group not in self._graph.below(incident.environment, other, now)
            ]  # fmt: skip
            later = max(onset.get(group, began) - began, 0)
            change, more = self._changed(incident.environment, group, near, onset.get(group, began))
            score = weights[group] / (1.0 + BELOW * len(ill)) * (1.0 - LATER * min(later / LATE, 1.0)) * (1.0 + more)
            kind = max(families, key=lambda f: (families[f][0], f))
            about = sorted({a.id: a for _, of in families.values() for a in of}.values(), key=lambda a: (-a.score, a.id))
            leading = max(families[kind][1], key=lambda a: (weight(a, kind), a.score, a.id))
            names = [leading.id, *(a.id for a in about if a is not leading)][:SHOWN]
            first = votes.first.get(group, 0), votes.shows.get(group, 0)
            found.append(
                Cause(
                    service=group, kind=kind, score=score, strength=strength(about), anomalies=tuple(names), first=first,
                    change=change, later=later, below=tuple(sorted(ill)),
                )
            )  # fmt: skip
        found = self._placed(incident.environment, found, strong)
        return sorted(found, key=lambda c: (-c.score, -c.first[0], c.name))

    def _votes(self, environment: str, anomalies: Iterable[Anomaly], now: int) -> Votes:
        """Per trace, the earliest odd step votes for its service; of several at the same time the one furthest down."""
        odd: dict[str, dict[str, int]] = defaultdict(dict)
        for anomaly in anomalies:
            if anomaly.metric in VOTING:
                for trace, time in anomaly.traces:
                    odd[trace][anomaly.group] = min(time, odd[trace].get(anomaly.group, time))
        shows: dict[str, int] = defaultdict(int)
        first: dict[str, int] = defaultdict(int)
        for times in odd.values():
            for group in times:
                shows[group] += 1
            begin = min(times.values())
            tied = sorted(group for group, time in times.items() if time <= begin + SAME)
            above = {
                group: sum(group in self._graph.below(environment, other, now) for other in tied if other != group)
                for group in tied
            }
            first[max(tied, key=lambda group: above[group]) if len(tied) > 1 else tied[0]] += 1
        return Votes(shows, first, odd)

    def _changed(self, environment: str, group: str, near: Mapping[str, int], onset: int) -> tuple[Change | None, float]:
        """The change that is the most suspicious, of a service or of what it calls, and by how much."""
        best: tuple[Change | None, float] = None, 0.0
        for change in self._places.changes(environment, onset - BEFORE, onset + AFTER):
            hops = near.get(change.group)
            if hops is not None and hops <= 1:
                fresh = 1.0 - max(onset - change.time, 0) / BEFORE
                more = (DEPENDENCY if hops else CHANGED) * fresh
                if more > best[1]:
                    best = change, more
        return best

    def _placed(self, environment: str, causes: list[Cause], strong: Sequence[Anomaly]) -> list[Cause]:
        """With the places that the ill ones share: beside the service that they are of, or, of several, a cause itself."""
        here: dict[tuple[str, str], dict[Place, set[str]]] = defaultdict(lambda: defaultdict(set))
        ill: dict[str, set[object]] = defaultdict(set)
        for anomaly in strong:
            for place in self._places.where(anomaly):
                here[place.kind, place.value][place].add(anomaly.group)
                ill[place.kind].add(place.who)
        shared: dict[str, tuple[float, Cause]] = {}
        for (kind, value), held in sorted(here.items()):
            groups, one = set[str]().union(*held.values()), next(iter(sorted(held)))
            n, of = len({place.who for place in held}), len(ill[kind])
            tellers = {place.group for place in held}
            scopes = ["", *(tellers if len(tellers) == 1 else ())]
            chance, scope = min((self._places.chance(environment, scope, one, n, of), scope) for scope in scopes)
            if chance >= RARE or n < 2:
                continue
            fact = kind, value, n, of, *self._places.known(environment, scope, one)
            mine = [c for c in causes if c.service in groups]
            if len(groups) > 1 and mine:
                worst = max(mine, key=lambda c: (c.score, c.name))
                at = structs.replace(worst, kind=kind, fact=fact, score=EXPLAINED * worst.score)
                shared[f"{kind}={value}"] = chance, at
            elif mine:
                known = shared.get(mine[0].service)
                if known is None or chance < known[0]:
                    shared[mine[0].service] = chance, structs.replace(mine[0], fact=fact)
        refined = [shared[c.service][1] if c.service in shared else c for c in causes]
        return refined + [at for _, at in shared.values() if at.is_place]

    def _spread(self, incident: Incident, cause: Cause, votes: Votes, now: int) -> None:
        """Who suffers from the cause, and whether the problem is larger than it."""
        ill = {a.group for a in incident.anomalies.values() if family(a) in (FULL, SILENT) and is_strong(a)}
        groups = [group for group in incident.groups if group != cause.service]
        below = {g: cause.service in self._graph.below(incident.environment, g, now) for g in groups}
        incident.victims = tuple(sorted(g for g in groups if below[g] and g not in ill and votes.follows(g, cause.service)))
        strong = [group for group, seen in incident.groups.items() if seen.last]
        explained = sum(g == cause.service or below[g] for g in strong)
        incident.systemic = len(strong) >= MANY and 2 * explained < len(strong) and not cause.is_place


def accused(anomalies: Iterable[Anomaly]) -> dict[str, dict[str, tuple[float, list[Anomaly]]]]:
    """By service and family: how much the strongest weighs, and the anomalies.

    A slow edge is its callee's, unless several of its caller's are slow: then it is the caller's network.
    """
    found: dict[str, dict[str, tuple[float, list[Anomaly]]]] = defaultdict(dict)

    def accuse(group: str, of: str, anomaly: Anomaly) -> None:
        most, held = found[group].get(of, (0.0, []))
        found[group][of] = max(most, weight(anomaly, of)), [*held, anomaly]

    edges = []
    for anomaly in anomalies:
        if (of := family(anomaly)) == EDGE and (client := dict(anomaly.labels).get("client")):
            edges.append((client, anomaly))
        else:
            accuse(anomaly.group, of, anomaly)
    into: dict[str, set[str]] = defaultdict(set)
    out: dict[str, set[str]] = defaultdict(set)
    for client, anomaly in edges:
        into[anomaly.group].add(client)
        out[client].add(anomaly.group)
    for client, anomaly in edges:
        if len(out[client]) > 1 and len(out[client]) >= len(into[anomaly.group]):
            accuse(client, NETWORK, anomaly)
        else:
            accuse(anomaly.group, NETWORK if len(into[anomaly.group]) > 1 else EDGE, anomaly)
    return found


def weigh(families: Mapping[str, tuple[float, list[Anomaly]]], share: float) -> float:
    """All evidence against a service; `share` is how often it is the first odd thing in its traces."""
    first = {SEQUENCE: 1.0 - FIRST + FIRST * share}
    return summed(most * first.get(of, 1.0) for of, (most, _) in families.items())
