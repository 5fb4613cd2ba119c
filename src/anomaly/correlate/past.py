"""Anomalies that no incident holds any more, by id, so that a redelivery does not start them anew: the last REMEMBERED."""

from collections.abc import Iterable

from anomaly.correlate.incident import CLOSED, Age, Incident, age, known_age
from anomaly.detect.anomaly import Anomaly, Event

REMEMBERED = 10_000


class Past:
    """The newest event that was seen of each, oldest first."""

    def __init__(self) -> None:
        self._seen: dict[str, Age] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._seen

    def is_news(self, incident: Incident | None, anomaly: Anomaly) -> bool:
        """Whether the event is newer than what is known of its anomaly. The end of an unknown one tells nothing."""
        known = known_age(incident, anomaly.id) if incident else None
        known = known or self._seen.get(anomaly.id)
        if known is None:
            return anomaly.event is not Event.CLOSE
        return known[1] != CLOSED and age(anomaly) > known

    def remember(self, incident: Incident) -> None:
        """Whatever an incident held, or waited for."""
        for anomaly in incident.anomalies.values():
            self.note(anomaly.id, age(anomaly))
        for name, seen in incident.waiting.items():
            self.note(name, seen)

    def note(self, name: str, seen: Age) -> None:
        """One that was seen."""
        self._seen[name] = seen
        if len(self._seen) > REMEMBERED:
            del self._seen[next(iter(self._seen))]

    def memory(self) -> list[tuple[str, Age]]:
        """What is to be kept."""
        return list(self._seen.items())

    def settle(self, memory: Iterable[tuple[str, Age]]) -> None:
        """Go on with what was kept."""
        self._seen = dict(memory)
