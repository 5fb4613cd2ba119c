"""Two incidents that turn out to be one: which goes on, and what it takes over; and one that turns out to be two."""

from msgspec import structs

from anomaly.correlate.incident import Incident, Told, begin, is_strong
from anomaly.detect.anomaly import Anomaly, Event

SURER = 1.25  # times the evidence of the other's likely cause


def is_new_to(incident: Incident, anomaly: Anomaly) -> bool:
    """Whether it has become strong, or shows in traces that the incident does not know."""
    held = incident.anomalies.get(anomaly.id)
    return held is None or (not is_strong(held) and is_strong(anomaly)) or held.traces != anomaly.traces


def inherit(told: Told, other: Told) -> None:
    """What people were told of an incident that goes on counts for the one that it goes on in, and for its budget."""
    told.evident, told.peak, told.surprise = (
        told.evident or other.evident,
        max(told.peak, other.peak),
        max(told.surprise, other.surprise),
    )
    told.reached = max(told.reached, other.reached)
    if other.severity == "critical" != told.severity:
        told.budget = other.budget


def goes_on(one: Incident, other: Incident) -> tuple[Incident, Incident]:
    """Which of two goes on, and which is over: one that people were told of, the one whose likely cause has clearly more
    evidence, the older. So the page that is about the cause stays, though what suffers from it was told first."""
    most = max(evidence(one), evidence(other))
    first, second = sorted(
        (one, other), key=lambda i: (i.told.change == 0, SURER * evidence(i) < most, i.started, i.dedup_key)
    )
    return first, second


def evidence(incident: Incident) -> float:
    """How much there is against its first cause."""
    return incident.causes[0].score if incident.causes else 0.0


def split(incident: Incident, group: str) -> tuple[Incident, list[Anomaly]]:
    """A new incident for a group that is a problem of its own, and the anomalies that are to be put into it. The other one
    lets go of the group, of its anomalies, and of the traces that nobody else shows in."""
    theirs = [a for a in incident.anomalies.values() if a.group == group]
    strongest = max(theirs, key=lambda a: (a.ended is None, is_strong(a), a.score, a.id))
    new = begin(structs.replace(strongest, event=Event.RECORD, time=incident.time))
    new.time, new.latest = incident.time, strongest.id
    for anomaly in theirs:
        del incident.anomalies[anomaly.id]
    kept = {trace for a in incident.anomalies.values() for trace, _ in a.traces}
    for trace in {trace for a in theirs for trace, _ in a.traces} - kept:
        incident.traces.pop(trace, None)
    incident.latest = ""
    del incident.groups[group]
    return new, theirs
