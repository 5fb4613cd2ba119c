"""Anomalies to incidents: those of one group that overlap in time are one problem.

Everything here is a function of the events in their order; time is theirs. Times are milliseconds of event time.

An incident is over when all anomalies that hold it open have closed, and event time has passed the last close by
`resolve_after`, or by INTERVALS of their points if these are longer: half a minute says nothing about a series that speaks
once a minute. One that opens before that belongs to the same incident. Which ones hold it is handed in: in a large group
something is always a little odd, and must not keep a real problem open for ever. Where none of them holds it, all do.

A series that ends by removal is no evidence of health. It leaves the incident, which is judged on the group's others. Where
nothing else is left, the incident waits for REMOVED_WAIT: what took the series' place can show then whether it is ill too.

Events may come again (delivery is at least once). One that is not newer than what is known of its anomaly changes nothing,
also after the incident is over: the last REMEMBERED anomalies are remembered by id.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

from msgspec import Struct, structs

from anomaly.config.settings import Correlation
from anomaly.correlate.incident import Incident, State
from anomaly.detect.anomaly import Anomaly, Event, Tick
from anomaly.detect.beside import Beside, Said

KEPT = 64  # anomalies of an incident that are kept whole: more than a person reads, few enough to write at each change
WAITED_FOR = 1_000  # open ones beyond these that still hold the incident; the rest is only counted
REMEMBERED = 10_000  # anomalies of past incidents, so that a redelivery does not start them anew
REMOVED_WAIT = 300_000  # ms: a new instance needs minutes to start, take load and fail
INTERVALS, LONGEST = 2, 3_600_000  # points that have had the time to come; ms that are waited for them at most
STRAGGLER = 60_000  # ms behind the first partition after which a partition does not hold back the time of the others
LATE = 15_000  # ms by which an anomaly may run ahead of one of its group that is still to come: a cell of a sum and its wait
REMOVED = "series ended"
ORDER = {Event.OPEN: 0, Event.RECORD: 1, Event.CLOSE: 2}

Group = tuple[str, str, str]  # environment, group, kind
Age = tuple[int, int]  # time and order of an anomaly's event
CLOSED = ORDER[Event.CLOSE]


class Memory(Struct, frozen=True):
    """All that a correlator knows, of which its future is a function."""

    open: list[Incident]
    past: list[tuple[str, Age]]
    ticks: dict[int, int]
    newest: int


class Correlator:
    """The incidents of one partition of anomaly.anomalies."""

    def __init__(self, settings: Correlation, holds: Callable[[Anomaly], bool] = lambda anomaly: True) -> None:
        self._resolve_after = int(settings.resolve_after * 1000)
        self._holds = holds
        self._open: dict[Group, Incident] = {}
        self._ending: dict[Group, int] = {}  # the quiet ones of these, and when each is over if nothing more happens
        self._past: dict[str, Age] = {}  # anomalies that no incident holds any more, oldest first
        self._ticks: dict[int, int] = {}  # partition -> how far its time went on
        self._newest = 0  # of the anomalies' times

    @property
    def open_incidents(self) -> list[Incident]:
        """Those that are not over, in order of their start."""
        return [snapshot(i) for i in sorted(self._open.values(), key=lambda i: (i.started, i.dedup_key))]

    @property
    def now(self) -> int:
        """How far event time went on, ms."""
        return self._now()

    def update(self, events: Iterable[Said]) -> list[Incident]:
        """The incidents that changed, in order, each as it stood right after its change."""
        return [snapshot(incident) for event in events for incident in self._meet(event)]

    def restore(self, incidents: Iterable[Incident]) -> None:
        """Go on with incidents known from before a restart, their latest forms; past ones keep redeliveries out."""
        for incident in incidents:
            if incident.state is State.OPEN:
                self._open[group_of(incident)] = mine = snapshot(incident)
                self._plan(mine)
            else:
                self._remember(incident)

    def memory(self) -> Memory:
        """Everything known, as it stands."""
        return Memory([snapshot(i) for i in self._open.values()], list(self._past.items()), dict(self._ticks), self._newest)

    def remember(self, memory: Memory) -> None:
        """Be the one whose `memory` this was; called on a new one."""
        for incident in memory.open:
            self._open[group_of(incident)] = mine = snapshot(incident)
            self._plan(mine)
        self._past, self._ticks, self._newest = dict(memory.past), dict(memory.ticks), memory.newest

    def _meet(self, event: Said) -> Iterator[Incident]:
        """Whatever is over by now, then what the event itself changes. Consumed at once: the incidents move on."""
        if isinstance(event, Tick):
            self._ticks[event.partition] = max(event.time, self._ticks.get(event.partition, 0))
            yield from self._due()
            return
        if isinstance(event, Beside):
            return
        self._newest = max(event.time, self._newest)
        yield from self._due()
        yield from self._overdue(event)
        changed = self._join(event)
        if changed:
            yield changed

    def _due(self) -> Iterator[Incident]:
        """Resolve what has been quiet for long enough, in the order in which it became so."""
        now = self._now()
        for _, group in sorted((ends, group) for group, ends in self._ending.items() if ends <= now):
            yield self._resolve(group)

    def _overdue(self, anomaly: Anomaly) -> Iterator[Incident]:
        """A new anomaly that began when its group's incident was already over is another problem, whatever the ticks say."""
        group = group_of(anomaly)
        if group in self._ending and anomaly.started >= self._ending[group] and self._is_news(self._open[group], anomaly):
            yield self._resolve(group)

    def _now(self) -> int:
        """Event time: that of the slowest partition that keeps up. Where one partition feeds us, its anomalies count too."""
        front = max(self._ticks.values(), default=0)
        slowest = min((t for t in self._ticks.values() if t >= front - STRAGGLER), default=0)
        return slowest if len(self._ticks) > 1 else max(slowest, self._newest - LATE)

    def _resolve(self, group: Group) -> Incident:
        incident = self._open.pop(group)
        incident.state, incident.time = State.RESOLVED, self._ending.pop(group)
        self._remember(incident)
        return incident

    def _join(self, anomaly: Anomaly) -> Incident | None:
        """Put the event into its group's incident, or into a new one; None if it is known or tells nothing."""
        group = group_of(anomaly)
        incident = self._open.get(group)
        if not self._is_news(incident, anomaly):
            return None
        if incident is None:
            incident = begin(anomaly)
            self._open[group] = incident
        known = anomaly.id in self._past or known_age(incident, anomaly.id) is not None
        if left_out := put(incident, anomaly, self._holds):
            incident.more += not known
            if left_out.id not in incident.waiting:
                self._note(left_out.id, age(left_out))
        incident.time, incident.latest = max(incident.time, anomaly.time), anomaly.id
        self._listen(incident, anomaly)
        self._plan(incident)
        return incident

    def _is_news(self, incident: Incident | None, anomaly: Anomaly) -> bool:
        """Whether the event is newer than what is known of its anomaly. The end of an unknown one tells nothing."""
        known = known_age(incident, anomaly.id) if incident else None
        known = known or self._past.get(anomaly.id)
        if known is None:
            return anomaly.event is not Event.CLOSE
        return known[1] != CLOSED and age(anomaly) > known

    def _listen(self, incident: Incident, anomaly: Anomaly) -> None:
        """Set whether the incident is quiet, and since when: the last close, though it be of one that is not kept."""
        holding = self._holding(incident)
        if incident.waiting or any(a.ended is None for a in holding):
            incident.quiet_since = None
        else:
            last = anomaly.ended if anomaly.ended and self._holds(anomaly) else 0
            incident.quiet_since = max(last, incident.quiet_since or 0, *(a.ended or 0 for a in holding))

    def _plan(self, incident: Incident) -> None:
        """Note when the incident is over if nothing more happens."""
        group = group_of(incident)
        self._ending.pop(group, None)
        if incident.quiet_since is not None:
            self._ending[group] = incident.quiet_since + self._wait(self._holding(incident))

    def _wait(self, holding: list[Anomaly]) -> int:
        """How long these must have been over."""
        points = min(INTERVALS * max(map(interval, holding)), LONGEST)
        removed = REMOVED_WAIT if all(a.reason == REMOVED for a in holding) else 0
        return max(self._resolve_after, points, removed)

    def _holding(self, incident: Incident) -> list[Anomaly]:
        """The anomalies on which the incident's end is judged."""
        kept = list(incident.anomalies.values())
        holding = [a for a in kept if self._holds(a)] or kept
        return [a for a in holding if a.reason != REMOVED] or holding

    def _remember(self, incident: Incident) -> None:
        for anomaly in incident.anomalies.values():
            self._note(anomaly.id, age(anomaly))
        for name, seen in incident.waiting.items():
            self._note(name, seen)

    def _note(self, name: str, seen: Age) -> None:
        self._past[name] = seen
        if len(self._past) > REMEMBERED:
            del self._past[next(iter(self._past))]


def group_of(one: Anomaly | Incident) -> Group:
    """To what an incident belongs: all of a group, but each kind by itself."""
    return one.environment, one.group, one.kind


def begin(anomaly: Anomaly) -> Incident:
    """A new incident, still without its anomaly.

    An anomaly outlives an incident that it did not hold open, and may start another one later: then the time is in the key
    too, because a key is never used twice.
    """
    again = [] if anomaly.event is Event.OPEN else [str(anomaly.time)]
    key = digest(anomaly.environment, anomaly.group, anomaly.id, *again)
    return Incident(
        dedup_key=key, environment=anomaly.environment, group=anomaly.group, started=anomaly.started, time=anomaly.time,
        state=State.OPEN, anomalies={}, kind=anomaly.kind,
    )  # fmt: skip


def put(incident: Incident, anomaly: Anomaly, holds: Callable[[Anomaly], bool]) -> Anomaly | None:
    """Keep the anomaly's latest form among the strongest; returns what found no room, which is waited for while open."""
    incident.started = min(incident.started, anomaly.started)
    incident.waiting.pop(anomaly.id, None)
    incident.anomalies[anomaly.id] = anomaly
    if len(incident.anomalies) <= KEPT:
        return None
    weakest = min(incident.anomalies.values(), key=lambda a: (a.bad, holds(a), a.score, a.id))
    del incident.anomalies[weakest.id]
    if weakest.ended is None and holds(weakest) and len(incident.waiting) < WAITED_FOR:
        incident.waiting[weakest.id] = age(weakest)
    return weakest


def snapshot(incident: Incident) -> Incident:
    """The incident as it stands, with anomalies of its own."""
    return structs.replace(incident, anomalies=dict(incident.anomalies), waiting=dict(incident.waiting))


def known_age(incident: Incident, name: str) -> Age | None:
    """The newest event that an incident has seen of an anomaly."""
    if name in incident.anomalies:
        return age(incident.anomalies[name])
    return incident.waiting.get(name)


def interval(anomaly: Anomaly) -> int:
    """The spacing of the anomaly's points in ms, 0 where there are too few to tell; a gap in the data is none."""
    gaps = [later - time for (time, _), (later, _) in pairwise(anomaly.points) if later > time]
    return min(gaps, default=0)


def age(anomaly: Anomaly) -> Age:
    """Orders the events of one anomaly."""
    return anomaly.time, ORDER[anomaly.event]


def digest(*parts: str) -> str:
    """Hexadecimal SHA-256 over `parts`."""
    return hashlib.sha256("\x00".join(parts).encode("utf-8", "replace")).hexdigest()
