"""When an incident is over.

It is when all anomalies that hold it open have closed, and event time has passed the last close by `resolve_after`, or by
INTERVALS of their points if these are longer: half a minute says nothing about a series that speaks once a minute. Which
ones hold it is handed in: in a large group something is always a little odd, and must not keep a real problem open for
ever. Where none of them holds it, all do.

A series that ends by removal is no evidence of health. It leaves the incident, which is judged on the group's others.
Where nothing else is left, the incident waits for REMOVED_WAIT: what took the series' place can show then whether it is
ill too.
"""

from collections.abc import Callable

from anomaly.correlate.incident import Incident, interval
from anomaly.detect.anomaly import REMOVED, Anomaly

REMOVED_WAIT = 300_000  # ms: a new instance needs minutes to start, take load and fail
INTERVALS, LONGEST = 2, 3_600_000  # points that have had the time to come; ms that are waited for them at most
NEVER = 1 << 62


class Ends:
    """The quiet incidents, and when each is over if nothing more happens."""

    def __init__(self, resolve_after: float, holds: Callable[[Anomaly], bool]) -> None:
        self._resolve_after, self._holds = int(resolve_after * 1000), holds
        self._at: dict[str, int] = {}  # dedup_key -> ms
        self._soonest = NEVER  # none is over before

    def of(self, key: str) -> int:
        """When an incident is over; NEVER while it is not quiet."""
        return self._at.get(key, NEVER)

    def due(self, now: int) -> list[tuple[int, str]]:
        """When which of them was over."""
        if now < self._soonest:
            return []
        self._soonest = min(self._at.values(), default=NEVER)
        return [(ends, key) for key, ends in self._at.items() if ends <= now]

    def drop(self, key: str) -> None:
        """It is no more."""
        self._at.pop(key, None)

    def listen(self, incident: Incident, last: Anomaly | None) -> None:
        """Set whether the incident is quiet, and since when: the last close, though it be of one that is not kept."""
        holding = self._holding(incident)
        if incident.waiting or any(a.ended is None for a in holding):
            incident.quiet_since = None
        else:
            ended = last.ended if last and last.ended and self._holds(last) else 0
            incident.quiet_since = max(ended, incident.quiet_since or 0, *(a.ended or 0 for a in holding))

    def plan(self, incident: Incident) -> None:
        """Note when the incident is over if nothing more happens."""
        self._at.pop(incident.dedup_key, None)
        if incident.quiet_since is not None:
            ends = incident.quiet_since + self._wait(self._holding(incident))
            self._at[incident.dedup_key], self._soonest = ends, min(ends, self._soonest)

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
