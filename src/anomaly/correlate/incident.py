"""An incident: the anomalies of one problem."""

import hashlib
from collections.abc import Callable
from enum import StrEnum
from itertools import pairwise

from msgspec import Struct, field, structs

from anomaly.detect.anomaly import HEARD, Anomaly, Event
from anomaly.detect.beside import Change

KEPT = 64  # anomalies of an incident that are kept whole: more than a person reads, few enough to write at each change
EACH = 4  # of a group of several that are kept before others have to make room for them
WAITED_FOR = 1_000  # open ones beyond these that still hold the incident; the rest is only counted
TRACES = 128  # that are kept of an incident; the oldest give way
GROUPS = 1_000  # of an incident; more of them are problems of their own
STRONG = 4.0  # score from which on an anomaly connects groups
ORDER = {Event.OPEN: 0, Event.RECORD: 1, Event.CLOSE: 2}
CLOSED = ORDER[Event.CLOSE]

Fact = tuple[str, str, int, int, int, int]  # kind, value, ill ones there, ill ones, all there, all
Age = tuple[int, int]  # time and order of an anomaly's event
Group = tuple[str, str, str]  # environment, group, kind


class State(StrEnum):
    """Where an incident stands."""

    OPEN = "open"
    RESOLVED = "resolved"


class Told(Struct, kw_only=True):
    """What people have been told about an incident; written by dispatch, which measures a change by it.

    `change` is the number of alerts sent. `reason` says why none was, while none was.
    """

    change: int = 0
    severity: str = ""
    rank: int = 0  # how telling the leading evidence was, 0 the most (see dispatch.severity)
    groups: tuple[str, ...] = ()
    started: int = 0
    named: bool = False  # instances that are odd among their peers
    reason: str = ""
    budget: str = ""  # what the incident is to the alert budget (see dispatch.budget)
    silenced: str = ""  # the silence for which nobody was told of its last change
    would: str = ""  # the severity but for the shadow that the team is in
    peak: float = 0.0  # the greatest score so far of what statistics speak for
    evident: bool = False  # whether that is evidence enough for the alert budget
    surprise: float = 0.0  # the greatest so far, in decades of a rate per week; counts once there is a peak
    reached: int = 0  # levels of the fleet's tail that it was counted at
    cause: str = ""  # the first-ranked one (`Cause.name`)
    leading: str = ""  # the anomaly that led the evidence for it
    widened: int = 0  # updates for nothing but other groups or another cause


class Seen(Struct, frozen=True, array_like=True):
    """Of a group of an incident: when its first anomaly began, and when a strong one last opened or grew; ms, 0 never."""

    first: int
    last: int = 0


class Cause(Struct, frozen=True, kw_only=True):
    """One likely cause. `kind` is the kind of its leading evidence (`evidence`), or that of a fact: node, zone, version.

    Anomalies are named by id, the leading one first. `first` is in how many of the traces that show something odd at the
    service that was the first odd thing: (k, n). `fact` is (kind, value, ill ones that have it, ill ones, all that have it,
    all). `later` is by how many ms it began after the incident's first anomaly. `below` names services that it depends on
    and that are ill too.
    """

    service: str
    kind: str
    score: float
    strength: float  # of its evidence, as an incident's
    anomalies: tuple[str, ...]
    first: tuple[int, int] = (0, 0)
    fact: Fact | None = None
    change: Change | None = None
    later: int = 0
    below: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """By which it is known whether it is another one."""
        return f"{self.kind}={self.fact[1]}" if self.is_place and self.fact else self.service

    @property
    def is_place(self) -> bool:
        """Whether it is a place that several services share."""
        return self.fact is not None and self.kind == self.fact[0]


class Incident(Struct, kw_only=True):
    """The anomalies that belong together, as they stand at `time` (ms of event time).

    `dedup_key` is stable for the incident's life: a hash of environment, group and the id of its first anomaly; `group` is
    that anomaly's. `anomalies` holds the latest form of the strongest, by id, in order of first sight, open and closed ones
    alike; `more` counts those that found no room, and `waiting` names the open ones of these, which keep the incident open
    all the same. `latest` is the id of the one that changed last: what is new about the incident is new about that one.
    `quiet_since` is when the last open one closed, None while any is open. `groups` are all that have had an anomaly in it.
    A snapshot has anomalies of its own and shares `told` with the incident it was taken of.
    """

    dedup_key: str
    environment: str
    group: str
    started: int
    time: int
    state: State
    anomalies: dict[str, Anomaly]
    latest: str = ""
    more: int = 0
    waiting: dict[str, tuple[int, int]] = field(default_factory=dict)  # id -> its last event: time, kind
    quiet_since: int | None = None
    told: Told = field(default_factory=Told)
    kind: str = ""  # of its anomalies: what lasts for weeks is an incident of its own
    groups: dict[str, Seen] = field(default_factory=dict)
    traces: dict[str, int] = field(default_factory=dict)  # in which it showed, and when (ms); the last TRACES
    causes: tuple[Cause, ...] = ()  # the likeliest first
    rival: tuple[str, int] = ("", 0)  # a cause that would be first, and since when, while the first has not given way
    widened: int = 0  # when another group came to it, ms, while people may still be spared one more alert; else 0
    victims: tuple[str, ...] = ()  # groups that suffer from the first of the causes
    systemic: bool = False  # many groups, and nothing that most of them depend on
    merged: str = ""  # of one that turned out to be one with an older one: the key of that


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
    before = incident.anomalies.get(anomaly.id)
    incident.anomalies[anomaly.id] = anomaly
    see(incident, anomaly, before is None or anomaly.score > before.score)
    if len(incident.anomalies) <= KEPT:
        return None
    weakest = min(spare(incident), key=lambda a: (a.bad, holds(a), a.score, a.id))
    del incident.anomalies[weakest.id]
    if weakest.ended is None and holds(weakest) and len(incident.waiting) < WAITED_FOR:
        incident.waiting[weakest.id] = age(weakest)
    return weakest


def spare(incident: Incident) -> list[Anomaly]:
    """Those of which one may go: of groups that have more than EACH, so that no group hides another; else all."""
    held = list(incident.anomalies.values())
    if len(incident.groups) < 2:
        return held
    count = dict.fromkeys(incident.groups, 0)
    for anomaly in held:
        count[anomaly.group] += 1
    return [a for a in held if count[a.group] > EACH] or held


def see(incident: Incident, anomaly: Anomaly, has_grown: bool = True) -> None:
    """Note where an anomaly is, and in which traces it shows."""
    seen = incident.groups.get(anomaly.group, Seen(anomaly.started))
    is_active = has_grown and is_strong(anomaly) and anomaly.event is not Event.CLOSE
    if is_active and not seen.last and incident.groups.keys() - {anomaly.group}:
        incident.widened = max(incident.time, anomaly.time)
    last = max(seen.last, anomaly.time) if is_active else seen.last
    incident.groups[anomaly.group] = Seen(min(seen.first, anomaly.started), last)
    for trace, time in anomaly.traces:
        known = incident.traces.setdefault(trace, time)
        incident.traces[trace] = min(known, time)
    while len(incident.traces) > TRACES:
        del incident.traces[next(iter(incident.traces))]


def is_strong(anomaly: Anomaly) -> bool:
    """Whether it is enough to connect its group with others. What is bad, or silent, has no need of a score; what only
    supports never is."""
    return (anomaly.score >= STRONG and not anomaly.supports) or anomaly.bad or anomaly.quantity == HEARD


def snapshot(incident: Incident) -> Incident:
    """The incident as it stands, with anomalies of its own."""
    return structs.replace(
        incident, anomalies=dict(incident.anomalies), waiting=dict(incident.waiting), traces=dict(incident.traces),
        groups=dict(incident.groups),
    )  # fmt: skip


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
