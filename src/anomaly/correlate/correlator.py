"""Anomalies to incidents: one problem, one incident, which grows and merges while it lives.

Everything here is a function of the events in their order; time is theirs. Times are milliseconds of event time. To which
incident an anomaly belongs is in `belongs`, when one is over in `ends`, what is its likely cause in `cause`.

Where two open incidents turn out to be one problem, one that people were told of goes on (`merge.goes_on`); the other is
over, with a reference. Where one turns out to be two (`problems`), a group leaves it and begins another.

Events may come again (delivery is at least once). One that is not newer than what is known of its anomaly changes
nothing, also after the incident is over (`past`).
"""

from collections.abc import Callable, Iterable, Iterator

from msgspec import Struct

from anomaly.config.settings import Correlation
from anomaly.correlate.belongs import Belongs, Ill
from anomaly.correlate.cause import HOLD, Causes
from anomaly.correlate.ends import Ends
from anomaly.correlate.graph import GraphMemory, ServiceGraph
from anomaly.correlate.incident import Age, Incident, Seen, State, age, begin, known_age, put, see, snapshot
from anomaly.correlate.merge import goes_on, inherit, is_new_to, split
from anomaly.correlate.past import Past
from anomaly.correlate.places import Places, PlacesMemory
from anomaly.correlate.problems import stranger
from anomaly.detect.anomaly import Anomaly, Event, Tick
from anomaly.detect.beside import Calls, Change, Facts, Said

STRAGGLER = 60_000  # ms behind the first partition after which a partition does not hold back the time of the others
LATE = 15_000  # ms by which an anomaly may run ahead of one of its group that is still to come: a cell of a sum and its wait
VERSION = 2


class Memory(Struct, frozen=True):
    """All that a correlator knows, of which its future is a function; of version 1 without what connects groups."""

    open: list[Incident]
    past: list[tuple[str, Age]]
    ticks: dict[int, int]
    newest: int
    graph: GraphMemory = GraphMemory()
    places: PlacesMemory = PlacesMemory()
    ill: list[Ill] = []
    version: int = VERSION


class Correlator:
    """The incidents of one partition of anomaly.anomalies."""

    def __init__(self, settings: Correlation, holds: Callable[[Anomaly], bool] = lambda anomaly: True) -> None:
        self._holds = holds
        self.graph, self.places = ServiceGraph(settings.edges), Places(settings)
        self._belongs, self._ends = Belongs(self.graph, self.places), Ends(settings.resolve_after, holds)
        self._causes = Causes(self.graph, self.places)
        self._open: dict[str, Incident] = {}  # by dedup_key
        self._settling: dict[str, int] = {}  # of these, what settles (`Causes.due`), and when
        self._past = Past()
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
                self._adopt(incident)
            else:
                self._past.remember(incident)

    def memory(self) -> Memory:
        """Everything known, as it stands."""
        return Memory(
            [snapshot(i) for i in self._open.values()], self._past.memory(), dict(self._ticks), self._newest,
            self.graph.memory(), self.places.memory(), self._belongs.ill(),
        )  # fmt: skip

    def remember(self, memory: Memory) -> None:
        """Be the one whose `memory` this was; called on a new one."""
        for incident in memory.open:
            self._adopt(incident)
        self._past.settle(memory.past)
        self._ticks, self._newest = dict(memory.ticks), memory.newest
        self.graph.remember(memory.graph)
        self.places.remember(memory.places)
        self._belongs.remember(memory.ill)

    def _adopt(self, incident: Incident) -> None:
        self._open[incident.dedup_key] = mine = snapshot(incident)
        if not mine.groups:  # a version before this one wrote it
            for anomaly in mine.anomalies.values():
                see(mine, anomaly)
        self._belongs.note(mine)
        self._ends.plan(mine)
        self._await(mine)

    def _meet(self, event: Said) -> Iterator[Incident]:
        """Whatever is over by now, then what the event itself changes. Consumed at once: the incidents move on."""
        if isinstance(event, Calls):
            self.graph.learn(event)
        elif isinstance(event, Facts | Change):
            self.places.learn(event)
        elif isinstance(event, Tick):
            self._ticks[event.partition] = max(event.time, self._ticks.get(event.partition, 0))
            yield from self._due()
        else:
            self._newest = max(event.time, self._newest)
            yield from self._due()
            yield from self._overdue(event)
            yield from self._join(event)

    def _due(self) -> Iterator[Incident]:
        """Resolve what has been quiet for long enough, in the order in which it became so; then causes that give way."""
        now = self._now()
        over = [(ends, self._open[key]) for ends, key in self._ends.due(now)]
        for _, incident in sorted(over, key=lambda o: (o[0], o[1].environment, o[1].group, o[1].kind, o[1].dedup_key)):
            yield self._resolve(incident)
        for time, key in sorted((time, key) for key, time in self._settling.items() if time <= now):
            incident = self._open[key]
            incident.time, incident.latest = max(incident.time, time), ""
            incident.widened = 0 if incident.widened + HOLD <= now else incident.widened
            self._explain(incident, now)
            yield incident

    def _overdue(self, anomaly: Anomaly) -> Iterator[Incident]:
        """A new anomaly that began when its group's incident was already over is another problem, whatever the ticks say."""
        for incident in self._belongs.own(anomaly, self._open):
            if anomaly.started >= self._ends.of(incident.dedup_key) and self._past.is_news(incident, anomaly):
                yield self._resolve(incident)

    def _now(self) -> int:
        """Event time: that of the slowest partition that keeps up. Where one partition feeds us, its anomalies count too."""
        front = max(self._ticks.values(), default=0)
        slowest = min((t for t in self._ticks.values() if t >= front - STRAGGLER), default=0)
        return slowest if len(self._ticks) > 1 else max(slowest, self._newest - LATE)

    def _resolve(self, incident: Incident) -> Incident:
        incident.state, incident.time = State.RESOLVED, self._ends.of(incident.dedup_key)
        self._close(incident)
        self._past.remember(incident)
        return incident

    def _close(self, incident: Incident) -> None:
        del self._open[incident.dedup_key]
        self._belongs.forget(incident, self._open)
        self._ends.drop(incident.dedup_key)
        self._settling.pop(incident.dedup_key, None)

    def _join(self, anomaly: Anomaly) -> Iterator[Incident]:
        """Put the event into its incident, or into a new one; nothing if it is known or tells nothing."""
        holder = self._open.get(self._belongs.holder(anomaly.id))
        if not self._past.is_news(holder, anomaly):
            return
        homes = self._homes(anomaly, holder)
        incident = homes[0] if homes else begin(anomaly)
        self._open.setdefault(incident.dedup_key, incident)
        for other in homes[1:]:
            incident, over = goes_on(incident, other)
            self._take(incident, over, anomaly)
            yield over
        known = anomaly.id in self._past or known_age(incident, anomaly.id) is not None
        groups = len(incident.groups)
        left_out = self._put(incident, anomaly)
        incident.more += left_out is not None and not known
        incident.time, incident.latest = max(incident.time, anomaly.time), anomaly.id
        self._ends.listen(incident, anomaly)
        self._ends.plan(incident)
        if left_out is not anomaly or len(incident.groups) > groups or len(homes) > 1:  # else it is as it was
            self._explain(incident, self._newest)
        if group := stranger(incident, self.graph, self._newest):
            yield from self._split(incident, group)
        else:
            yield incident

    def _homes(self, anomaly: Anomaly, holder: Incident | None) -> list[Incident]:
        """Where it belongs. What an incident holds already is asked only where it says something new of that."""
        if holder and (anomaly.event is Event.CLOSE or not is_new_to(holder, anomaly)):
            return [holder]
        found = self._belongs.homes(anomaly, self._open, holder, self._newest)
        return [i for i in found if i is holder or anomaly.started < self._ends.of(i.dedup_key)]

    def _put(self, incident: Incident, anomaly: Anomaly) -> Anomaly | None:
        """Keep it among the strongest, and say which one found no room."""
        left_out = put(incident, anomaly, self._holds)
        self._belongs.took(incident, anomaly)
        if left_out and left_out.id not in incident.waiting:
            self._belongs.left_out(left_out.id)
            self._past.note(left_out.id, age(left_out))
        return left_out

    def _take(self, incident: Incident, over: Incident, anomaly: Anomaly) -> None:
        """Two incidents are one from now on."""
        inherit(incident.told, over.told)
        over.merged, over.state, over.time = incident.dedup_key, State.RESOLVED, max(over.time, anomaly.time)
        self._close(over)
        incident.more += over.more
        incident.waiting |= {name: seen for name, seen in over.waiting.items() if name not in incident.anomalies}
        for each in over.anomalies.values():
            incident.more += self._put(incident, each) is not None
        for group, seen in over.groups.items():
            mine = incident.groups.get(group, seen)
            incident.groups[group] = Seen(min(mine.first, seen.first), max(mine.last, seen.last))
        self._belongs.note(incident)

    def _split(self, incident: Incident, group: str) -> Iterator[Incident]:
        """An incident is two from now on."""
        new, theirs = split(incident, group)
        self._open[new.dedup_key] = new
        self._belongs.leaves(incident, group)
        for anomaly in theirs:
            self._put(new, anomaly)
        new.widened = 0
        for each in (incident, new):
            self._ends.listen(each, None)
            self._ends.plan(each)
            self._explain(each, self._newest)
            yield each

    def _explain(self, incident: Incident, now: int) -> None:
        """Say anew what is the likely cause."""
        self._causes.explain(incident, now)
        self._await(incident)

    def _await(self, incident: Incident) -> None:
        """Note when something about it settles."""
        self._settling.pop(incident.dedup_key, None)
        if (due := self._causes.due(incident)) is not None:
            self._settling[incident.dedup_key] = due
