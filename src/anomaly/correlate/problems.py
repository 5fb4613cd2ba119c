"""One problem, or two: what traces say of an anomaly and an incident, of two incidents, and of one that holds two causes.

All traces of an incident are those of all its groups, also of callers that suffer; and whoever calls two ill services shows
in the traces of both. So where first causes are known, they are compared by the traces in which these were odd themselves.

Of services of which neither calls the other, neither is the reason for the other: two incidents of such are two problems if
less than half of their traces are in common. Where one calls the other, the callee is the reason for the caller in traces
in which both are odd; the caller has a problem of its own if these are far less than they would be, were it the only one.
How many they would be is a matter of chance, because few traces are named of many: of those in which a service is odd, the
share that is named, and of so many traces of the other one no more than this are (the lower tail of the binomial).
An incident holds two causes where that is so of the first and of another one that has evidence enough to be told of in what
it does itself (its sequence, its own work): then it was who calls both, or who was slow just then, that brought them
together. Weak where the first cause is not the right one, where calls are not known, and where so many traces fail that the
few which are named can say nothing: then what is together stays together.
"""

from collections.abc import Mapping
from enum import StrEnum
from math import comb, prod

from anomaly.correlate.evidence import TOGETHER, VOTING, strength
from anomaly.correlate.graph import ServiceGraph
from anomaly.correlate.incident import Incident, is_strong
from anomaly.decode.steps_series import SELF, STEPS
from anomaly.detect.anomaly import Anomaly

# ms around the traces of an anomaly, in which an incident would show in the same ones: those of a sequence are the failing
# ones of its look-back; of a duration they are the slowest of many.
FAILING, AROUND = 60_000, 5_000
LOOK_BACK = 60_000  # ms of which the traces of an anomaly are counted, mostly
UNLIKELY, CERTAIN = 0.2, 0.01  # chances of so few in common, of services that have no calls to do with each other, or have
SEEN = 0.5  # of what suffers from something it is seen to be odd itself, at least
SHARED = 2  # traces in common that make two incidents one; of less, all
FEW = 4  # traces of each that are enough to say that they are others

Times = Mapping[str, int]  # by trace, when something was odd in it, ms


class Relation(StrEnum):
    """How one service stands to another one: it depends on it, the other way round, or neither."""

    ABOVE = "above"
    BELOW = "below"
    BESIDE = "beside"


def contradicts(anomaly: Anomaly, incident: Incident) -> bool:
    """Whether the traces of an anomaly say that it is another problem: none in common, where some would be expected."""
    names = [trace for trace, _ in anomaly.traces]
    if not names or not incident.traces or any(name in incident.traces for name in names):
        return False
    times = [time for _, time in anomaly.traces]
    around = FAILING if anomaly.metric == STEPS else AROUND
    known = within(incident.traces, min(times) - around, max(times) + around)
    odd = max(int(anomaly.events[0]) if anomaly.events else 0, known, len(names))
    chance = 1.0
    for _ in names:
        chance *= 1.0 - known / odd
    return chance < UNLIKELY


def leads(anomaly: Anomaly, incident: Incident) -> bool:
    """Whether it is the first odd thing in the traces that it has in common with an incident, mostly.

    Whoever calls both of two ill services shows in the traces of both, and makes them no single problem.
    """
    times = [(time, incident.traces[trace]) for trace, time in anomaly.traces if trace in incident.traces]
    return anomaly.metric in VOTING and 2 * sum(time <= known for time, known in times) > len(times)


def apart(one: Incident, other: Incident, graph: ServiceGraph, now: int) -> bool:
    """Whether the traces of two incidents say that they are two problems."""
    first, second = suspect(one), suspect(other)
    mine, theirs = odd(one, first), odd(other, second)
    if first == second or not mine or not theirs:
        return disjoint(one.traces, other.traces)
    relation = related(one.environment, first, second, graph, now)
    if relation is Relation.BESIDE:
        return 2 * len(mine.keys() & theirs.keys()) < min(len(mine), len(theirs))
    return disjoint(mine, theirs) or chance(one, first, other, second, relation) < CERTAIN


def stranger(incident: Incident, graph: ServiceGraph, now: int) -> str:
    """A group of an incident that is a problem of its own, "" where none is; never the one that people were told of."""
    first = suspect(incident)
    for cause in incident.causes[1:] if first else ():
        second = cause.service
        if second == first or cause.is_place or not is_alone(incident, second):
            continue
        relation = related(incident.environment, first, second, graph, now)
        least = UNLIKELY if relation is Relation.BESIDE else CERTAIN
        leaves = first if incident.told.cause == second else second
        if chance(incident, first, incident, second, relation) < least and not is_explained(incident, leaves, graph, now):
            return leaves
    return ""


def chance(one: Incident, first: str, other: Incident, second: str, relation: Relation) -> float:
    """How likely it is that so few traces are common, if whichever of two services is called is the reason for the other."""
    mine, theirs = odd(one, first), odd(other, second)
    if relation is Relation.ABOVE:
        return coincidence(other, second, theirs, mine)
    return coincidence(one, first, mine, theirs)


def is_explained(incident: Incident, group: str, graph: ServiceGraph, now: int) -> bool:
    """Whether something that a group depends on is ill as well, and in the same traces."""
    theirs, below = odd(incident, group), graph.below(incident.environment, group, now)
    for cause in incident.causes:
        its = odd(incident, cause.service) if cause.service in below and cause.service != group else {}
        if its.keys() & theirs.keys() and coincidence(incident, cause.service, its, theirs) >= CERTAIN:
            return True
    return False


def related(environment: str, one: str, other: str, graph: ServiceGraph, now: int) -> Relation:
    """How one service stands to another one."""
    if other in graph.below(environment, one, now):
        return Relation.ABOVE
    return Relation.BELOW if one in graph.below(environment, other, now) else Relation.BESIDE


def coincidence(incident: Incident, group: str, its: Times, theirs: Times) -> float:
    """How likely so few of `theirs` are among the traces of a group, if that is the reason for them; 1: nobody can tell."""
    if min(len(its), len(theirs)) < FEW:
        return 1.0
    since, until = min(theirs.values()) - AROUND, max(theirs.values()) + AROUND
    named, minutes = within(its, since, until), max((until - since) / LOOK_BACK, 1.0)
    seen = [minutes * a.events[0] for a in speaking(incident, group) if a.events]
    share = min(named / max([named, 1.0, *seen]), SEEN)
    return at_most(len(its.keys() & theirs.keys()), len(theirs), share)


def at_most(k: int, n: int, p: float) -> float:
    """The binomial lower tail: how likely no more than k of n are what each is with probability p.

    Of products alone, so that it is the same number on every machine.
    """
    return sum(comb(n, i) * prod([p] * i) * prod([1.0 - p] * (n - i)) for i in range(k + 1))


def is_alone(incident: Incident, group: str) -> bool:
    """Whether a group has evidence enough in what it does itself, and still does."""
    own = [a for a in speaking(incident, group) if a.metric in (STEPS, SELF)]
    return strength(own) > TOGETHER and any(a.ended is None for a in own)


def suspect(incident: Incident) -> str:
    """The service that is the first of the likely causes, "" where none is."""
    first = incident.causes[0] if incident.causes else None
    return "" if first is None or first.is_place else first.service


def speaking(incident: Incident, group: str) -> list[Anomaly]:
    """What is odd in a group and knows when it was in a trace."""
    return [a for a in incident.anomalies.values() if a.group == group and a.metric in VOTING and is_strong(a)]


def odd(incident: Incident, group: str) -> Times:
    """In which traces something of a group was odd, and when first."""
    found: dict[str, int] = {}
    for anomaly in speaking(incident, group):
        for trace, time in anomaly.traces:
            found[trace] = min(time, found.get(trace, time))
    return found


def disjoint(mine: Times, theirs: Times) -> bool:
    """Whether some traces are of the same time as others, and none is in common."""
    if not mine or not theirs or mine.keys() & theirs.keys():
        return False
    since = max(min(mine.values()), min(theirs.values())) - AROUND
    until = min(max(mine.values()), max(theirs.values())) + AROUND
    return min(within(mine, since, until), within(theirs, since, until)) >= SHARED


def within(times: Times, since: int, until: int) -> int:
    """How many traces are of this time."""
    return sum(since <= time <= until for time in times.values())
