"""To which open incidents an anomaly belongs: more than one, and they turn out to be one problem.

An anomaly belongs to the incident that
- shows in the same traces,
- is of its group and kind; not where its group only suffers there, or came there without traces, and the traces speak
  against it,
- has a group within HOPS calls of its own, where a strong anomaly opened or grew within WITHIN ms, unless the traces speak
  against it,
- has anomalies at the same place (node, zone, version), where those that are ill are more than chance puts there.

Only what is strong connects; a slow change against weeks ago (a kind of its own) stays by itself, and what began more
than WITHIN apart becomes one by traces or places alone. Whether traces speak against it is in `problems`. Where nothing is
known of calls, traces and places, a group is an incident.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TypeVar

from msgspec import Struct

from anomaly.correlate.graph import ServiceGraph
from anomaly.correlate.incident import GROUPS, Group, Incident, is_strong
from anomaly.correlate.places import Places
from anomaly.correlate.problems import SHARED, apart, contradicts, leads
from anomaly.decode.identity import Labels
from anomaly.detect.anomaly import Anomaly

HOPS, WITHIN = 2, 120_000
RARE = 0.01  # chance of so many ill ones at a place
ILL = 256  # that are remembered of a kind of place

At = TypeVar("At")


class Ill(Struct, array_like=True):
    """Somebody with a strong anomaly of late: where, when (ms), and which."""

    environment: str
    kind: str
    who: Labels
    value: str
    time: int
    group: str
    anomaly: str


class Belongs:
    """Who belongs together among the open incidents, which are handed in."""

    def __init__(self, graph: ServiceGraph, places: Places) -> None:
        self._graph, self._places = graph, places
        self._by_group: dict[Group, set[str]] = defaultdict(set)
        self._by_trace: dict[tuple[str, str], set[str]] = defaultdict(set)
        self._holder: dict[str, str] = {}  # anomaly -> key, of those that an incident holds or waits for
        self._ill: dict[tuple[str, str], dict[Labels, Ill]] = defaultdict(dict)  # by environment and kind of place

    def holder(self, anomaly: str) -> str:
        """The key of the incident that holds an anomaly, or waits for it."""
        return self._holder.get(anomaly, "")

    def note(self, incident: Incident) -> None:
        """Know an incident, with all that it holds."""
        for anomaly in incident.anomalies.values():
            self.took(incident, anomaly)
        self._holder |= dict.fromkeys(incident.waiting, incident.dedup_key)
        for group in incident.groups:
            self._by_group[incident.environment, group, incident.kind].add(incident.dedup_key)
        for trace in incident.traces:
            self._by_trace[incident.environment, trace].add(incident.dedup_key)

    def took(self, incident: Incident, anomaly: Anomaly) -> None:
        """An incident took an anomaly."""
        key = incident.dedup_key
        self._holder[anomaly.id] = key
        self._by_group[incident.environment, anomaly.group, incident.kind].add(key)
        for trace, _ in anomaly.traces:
            self._by_trace[incident.environment, trace].add(key)

    def leaves(self, incident: Incident, group: str) -> None:
        """A group is no part of an incident any more."""
        _discard(self._by_group, (incident.environment, group, incident.kind), incident.dedup_key)

    def left_out(self, anomaly: str) -> None:
        """An incident does not hold an anomaly any more, nor waits for it."""
        self._holder.pop(anomaly, None)

    def forget(self, incident: Incident, open_: Mapping[str, Incident]) -> None:
        """An incident is no more."""
        key = incident.dedup_key
        for name in (*incident.anomalies, *incident.waiting):
            if self._holder.get(name) == key:
                del self._holder[name]
        for group in incident.groups:
            _discard(self._by_group, (incident.environment, group, incident.kind), key)
        for trace in incident.traces:
            _discard(self._by_trace, (incident.environment, trace), key)
        if len(self._by_trace) > 1_000 + 4 * sum(len(i.traces) for i in open_.values()):  # what incidents let go of
            self._by_trace.clear()
            for each in open_.values():
                for trace in each.traces:
                    self._by_trace[each.environment, trace].add(each.dedup_key)

    def own(self, anomaly: Anomaly, open_: Mapping[str, Incident]) -> list[Incident]:
        """The incidents that its group has a part in, the one that last changed first."""
        keys = self._by_group.get((anomaly.environment, anomaly.group, anomaly.kind), ())
        return sorted((open_[key] for key in keys), key=lambda i: (-i.groups[anomaly.group].last, -i.time, i.dedup_key))

    def homes(self, anomaly: Anomaly, open_: Mapping[str, Incident], holder: Incident | None, now: int) -> list[Incident]:
        """The incidents that it belongs to, in the order in which they speak for it; none: it is a problem of its own."""
        own = [holder] if holder else self.own(anomaly, open_)
        if anomaly.kind:
            return own[:1]
        shared = self._sharing(anomaly, open_)
        own = [i for i in own if i is holder or not (is_guest(anomaly.group, i) and contradicts(anomaly, i))]
        if not is_strong(anomaly):
            return (own if holder else shared + own)[:1]
        found: list[Incident] = [holder] if holder else []
        for incident in (*shared, *own[:1]):
            together = incident in shared and leads(anomaly, incident)
            if incident not in found and (together or not any(self._apart(incident, other, now) for other in found)):
                found.append(incident)
        for incident in self._near(anomaly, open_, now):
            far = any(abs(incident.started - other.started) > WITHIN or self._apart(incident, other, now) for other in found)
            if incident not in found and not far:
                found.append(incident)
        return [*found, *(i for i in self._at_the_same_place(anomaly, open_) if i not in found)]

    def _apart(self, one: Incident, other: Incident, now: int) -> bool:
        return apart(one, other, self._graph, now)

    def ill(self) -> list[Ill]:
        """What is to be kept besides the incidents."""
        return [ill for held in self._ill.values() for ill in held.values()]

    def remember(self, ill: Iterable[Ill]) -> None:
        """Go on with what was kept."""
        for each in ill:
            self._ill[each.environment, each.kind][each.who] = each

    def _sharing(self, anomaly: Anomaly, open_: Mapping[str, Incident]) -> list[Incident]:
        """Incidents that show in enough of the same traces, the most of them first."""
        count: dict[str, int] = defaultdict(int)
        for trace, _ in anomaly.traces:
            for key in self._by_trace.get((anomaly.environment, trace), ()):
                count[key] += key in open_ and trace in open_[key].traces
        enough = min(SHARED, len(anomaly.traces))
        found = sorted((-n, open_[key].started, key) for key, n in count.items() if n >= enough)
        return [open_[key] for _, _, key in found]

    def _near(self, anomaly: Anomaly, open_: Mapping[str, Incident], now: int) -> list[Incident]:
        """Incidents of services around it that were ill just now, the nearest first, and of these the latest."""
        found: dict[str, tuple[int, int, int, str]] = {}
        environment = anomaly.environment
        for group, hops in self._graph.around(environment, anomaly.group, HOPS, now).items():
            for key in self._by_group.get((environment, group, ""), ()):
                incident, last = open_[key], open_[key].groups[group].last
                if key in found or last < anomaly.started - WITHIN or len(incident.groups) >= GROUPS:
                    continue
                if last and not contradicts(anomaly, incident):
                    found[key] = hops, -last, incident.started, key
        return [open_[key] for *_, key in sorted(found.values())]

    def _at_the_same_place(self, anomaly: Anomaly, open_: Mapping[str, Incident]) -> list[Incident]:
        """Incidents with ill ones where it is, if that is more than chance; notes it as one of them."""
        found: dict[str, Incident] = {}
        for place in self._places.where(anomaly):
            held = self._ill[anomaly.environment, place.kind]
            for old in [who for who, ill in held.items() if ill.time < anomaly.time - WITHIN]:
                del held[old]
            held[place.who] = Ill(
                anomaly.environment, place.kind, place.who, place.value, anomaly.time, anomaly.group, anomaly.id
            )
            while len(held) > ILL:
                del held[next(iter(held))]
            here = [ill for ill in held.values() if ill.value == place.value]
            if len({ill.group for ill in here}) < 2:
                continue
            if self._places.chance(anomaly.environment, "", place, len(here), len(held)) < RARE:
                keys = {self.holder(ill.anomaly) for ill in here}
                found |= {key: open_[key] for key in keys if key in open_ and not open_[key].kind}
        return sorted(found.values(), key=lambda i: (i.started, i.dedup_key))


def is_guest(group: str, incident: Incident) -> bool:
    """Whether a group only suffers in an incident of another one, or came to it by nothing but being near."""
    return incident.group != group and (
        group in incident.victims or not any(a.traces for a in incident.anomalies.values() if a.group == group)
    )


def _discard(index: dict[At, set[str]], at: At, key: str) -> None:
    keys = index.get(at, set())
    keys.discard(key)
    if not keys:
        index.pop(at, None)
