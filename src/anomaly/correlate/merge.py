"""Two incidents that turn out to be one: which goes on, and what it takes over."""

from anomaly.correlate.incident import Incident, Told, is_strong
from anomaly.detect.anomaly import Anomaly


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


def older(one: Incident, other: Incident) -> tuple[Incident, Incident]:
    """Which of two goes on, and which is over."""
    first, second = sorted((one, other), key=lambda i: (i.told.change == 0, i.started, i.dedup_key))
    return first, second
