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
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msgspec import structs

from anomaly.correlate import votes as traces
from anomaly.correlate.evidence import FULL, SILENT, Families, accused, family, strength, weigh, weight
from anomaly.correlate.graph import ServiceGraph
from anomaly.correlate.incident import Cause, Fact, Incident, is_strong
from anomaly.correlate.places import Place, Places
from anomaly.correlate.votes import Votes
from anomaly.detect.anomaly import Anomaly
from anomaly.detect.beside import Change

KEPT, SHOWN = 5, 3  # causes of an incident, and anomalies of a cause
LEAD, HOLD = 1.25, 20_000
BELOW, COMPARABLE = 0.2, 0.5  # taken off for each ill one below that has at least this share of the evidence
LATER, LATE = 0.1, 60_000  # taken off at most for a late onset, and ms that are late
BEFORE, AFTER = 1_800_000, 30_000  # ms around the onset in which a change is suspicious
CHANGED, DEPENDENCY = 0.5, 0.25  # added for one just before, of the service itself or of what it calls
RARE = 0.01  # chance of so many ill ones at a place
MANY = 5  # groups of which most must suffer from the cause, else the problem is a systemic one
EXPLAINED = 1.3  # so much more than its worst service a place explains


class Suspect(NamedTuple):
    """A service with the evidence against it, before it is put into the words of a cause."""

    group: str
    score: float
    first: tuple[int, int]
    families: Families
    below: tuple[str, ...]
    later: int
    change: Change | None


class Causes:
    """Explains incidents by what is known of calls, places and changes."""

    def __init__(self, graph: ServiceGraph, places: Places) -> None:
        self._graph, self._places = graph, places

    def explain(self, incident: Incident, now: int) -> None:
        """Write the ranked causes, the victims and the rival into the incident."""
        if incident.kind:
            return
        strong = [a for a in incident.anomalies.values() if is_strong(a)]
        incident.victims, incident.systemic, ranked = (), False, list[Cause]()
        if strong:
            voted = traces.count(strong, self._graph, incident.environment, now)
            ranked = self._ranked(incident.environment, strong, voted, now)
        ranked, incident.rival = self._settled(incident, ranked, now)
        incident.causes = tuple(ranked[:KEPT])
        if ranked and len(incident.groups) > 1:
            self._spread(incident, ranked[0], strong, voted, now)

    def due(self, incident: Incident) -> int | None:
        """When the first cause gives way, or its groups are said to be these, if nothing happens before."""
        times = [t + HOLD for t in (incident.widened, incident.rival[1]) if t]
        return min(times, default=None)

    def _settled(self, incident: Incident, ranked: list[Cause], now: int) -> tuple[list[Cause], tuple[str, int]]:
        """The first one stays first while nobody is clearly before it; and who is its rival, since when."""
        before = incident.causes[0].name if incident.causes else ""
        held = next((c for c in ranked if c.name == before), None)
        if held is None or held is ranked[0] or ranked[0].score >= LEAD * held.score:
            return ranked, ("", 0)
        name, since = incident.rival if incident.rival[0] == ranked[0].name else (ranked[0].name, now)
        if now - since >= HOLD:
            return ranked, ("", 0)
        return [held, *(c for c in ranked if c is not held)], (name, since)

    def _ranked(self, environment: str, strong: Sequence[Anomaly], voted: Votes, now: int) -> list[Cause]:
        suspects = self._suspects(environment, strong, voted, now)
        suspects.sort(key=lambda s: (-s.score, -s.first[0], s.group))
        named = self._placed(environment, suspects, strong)
        facts = {about.group: fact for about, fact, is_cause in named if not is_cause}
        found = [cause(s, facts.get(s.group)) for s in suspects[:KEPT]]
        for about, fact, is_cause in named:
            if is_cause:
                found.append(structs.replace(cause(about, fact), kind=fact[0], score=EXPLAINED * about.score))
        return sorted(found, key=lambda c: (-c.score, -c.first[0], c.name))

    def _suspects(self, environment: str, strong: Sequence[Anomaly], voted: Votes, now: int) -> list[Suspect]:
        evidence = accused(strong)
        weights = {group: weigh(families, voted.share(group)) for group, families in evidence.items()}
        onset: dict[str, int] = {}
        for anomaly in strong:
            onset[anomaly.group] = min(anomaly.started, onset.get(anomaly.group, anomaly.started))
        began, last = min(onset.values()), max(onset.values())
        changes = list(self._places.changes(environment, began - BEFORE, last + AFTER))
        found = []
        for group, families in evidence.items():
            near = self._graph.below(environment, group, now)
            least, start = COMPARABLE * weights[group], onset.get(group, began)
            ill = [
                other for other in near.keys() & weights.keys()
                if other != group and weights[other] >= least
                and group not in self._graph.below(environment, other, now)
            ]  # fmt: skip
            change, more = suspicious(changes, near, start) if changes else (None, 0.0)
            later = start - began
            score = weights[group] / (1.0 + BELOW * len(ill)) * (1.0 - LATER * min(later / LATE, 1.0)) * (1.0 + more)
            first = voted.first.get(group, 0), voted.shows.get(group, 0)
            found.append(Suspect(group, score, first, families, tuple(sorted(ill)), later, change))
        return found

    def _placed(
        self, environment: str, suspects: Sequence[Suspect], strong: Sequence[Anomaly]
    ) -> list[tuple[Suspect, Fact, bool]]:
        """Places that the ill ones share: of several services a cause (True), which is shown by the worst of them; of one
        the one that is the least by chance, which says more of that service."""
        here: dict[tuple[str, str], dict[Place, set[str]]] = defaultdict(lambda: defaultdict(set))
        ill: dict[str, set[object]] = defaultdict(set)
        for anomaly in strong:
            for place in self._places.where(anomaly):
                here[place.kind, place.value][place].add(anomaly.group)
                ill[place.kind].add(place.who)
        several: list[tuple[Suspect, Fact, bool]] = []
        single: dict[str, tuple[float, Suspect, Fact]] = {}
        for (kind, value), held in sorted(here.items()):
            groups, tellers = set[str]().union(*held.values()), {place.group for place in held}
            about = next((s for s in suspects if s.group in groups), None)
            one, n, of = min(held), len({place.who for place in held}), len(ill[kind])
            scopes = ["", *(tellers if len(tellers) == 1 else ())]
            chance, scope = min((self._places.chance(environment, scope, one, n, of), scope) for scope in scopes)
            if about is None or chance >= RARE or n < 2:
                continue
            fact = kind, value, n, of, *self._places.known(environment, scope, one)
            if len(groups) > 1:
                several.append((about, fact, True))
            elif about.group not in single or chance < single[about.group][0]:
                single[about.group] = chance, about, fact
        return [*several, *((about, fact, False) for _, about, fact in single.values())]

    def _spread(self, incident: Incident, first: Cause, strong: Sequence[Anomaly], voted: Votes, now: int) -> None:
        """Who suffers from the cause, and whether the problem is larger than it."""
        itself = {a.group for a in strong if family(a) in (FULL, SILENT)}
        callers = self._graph.above(incident.environment, first.service, now).keys() - {first.service}
        suffer = callers & incident.groups.keys()
        incident.victims = tuple(sorted(g for g in suffer - itself if voted.follows(g, first.service)))
        ill = [group for group, seen in incident.groups.items() if seen.last]
        explained = sum(group == first.service or group in suffer for group in ill)
        incident.systemic = len(ill) >= MANY and 2 * explained < len(ill) and not first.is_place


def cause(suspect: Suspect, fact: Fact | None) -> Cause:
    """A suspect as a cause."""
    families = suspect.families
    full = any(a.ended is None and is_strong(a) for a in families.get(FULL, (0.0, []))[1])
    kind = FULL if full else max(families, key=lambda f: (families[f][0], f))  # what is full is slow, never the reverse
    about = sorted({a.id: a for _, of in families.values() for a in of}.values(), key=lambda a: (-a.score, a.id))
    leading = max(families[kind][1], key=lambda a: (weight(a, kind), a.score, a.id))
    names = [leading.id, *(a.id for a in about if a is not leading)][:SHOWN]
    return Cause(
        service=suspect.group, kind=kind, score=suspect.score, strength=strength(about), anomalies=tuple(names),
        first=suspect.first, fact=fact, change=suspect.change, later=suspect.later, below=suspect.below,
    )  # fmt: skip


def suspicious(changes: Sequence[Change], near: Mapping[str, int], onset: int) -> tuple[Change | None, float]:
    """The change that is the most suspicious, of a service or of what it calls, and by how much: the nearer before the
    onset the more, and of those after it, which only clocks and cells that are not exact make possible, the nearer. One
    that is farther than BEFORE or AFTER adds nothing."""
    best: tuple[Change | None, float] = None, 0.0
    for change in changes:
        hops = near.get(change.group)
        if hops is not None and hops <= 1:
            away = onset - change.time
            more = (DEPENDENCY if hops else CHANGED) * (1.0 - (away / BEFORE if away >= 0 else -away / AFTER))
            if more > best[1]:
                best = change, more
    return best
