"""Who is the first odd thing in the traces that show something odd."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from anomaly.correlate.evidence import VOTING
from anomaly.correlate.graph import ServiceGraph
from anomaly.detect.anomaly import Anomaly

SAME = 2  # ms by which logs and spans jitter: who comes first is not known


class Votes(NamedTuple):
    """By service: in how many traces it shows, and in how many of these it is the first that does."""

    shows: Mapping[str, int]
    first: Mapping[str, int]
    odd: Mapping[str, Mapping[str, int]]  # by trace, when each service was first odd, ms

    def share(self, group: str) -> float:
        """How often it is the first; 1 where nothing is known."""
        return self.first.get(group, 0) / self.shows[group] if self.shows.get(group) else 1.0

    def follows(self, group: str, cause: str) -> bool:
        """Whether a service is odd only behind another one, as far as their traces tell."""
        common = [times for times in self.odd.values() if group in times and cause in times]
        if common:
            return 2 * sum(times[cause] <= times[group] + SAME for times in common) > len(common)
        return not self.shows.get(group) or self.share(group) < 0.5


NOBODY = Votes({}, {}, {})


def count(anomalies: Iterable[Anomaly], graph: ServiceGraph, environment: str, now: int) -> Votes:
    """Per trace, the earliest odd step votes for its service; of several at the same time the one furthest down."""
    odd: dict[str, dict[str, int]] = defaultdict(dict)
    for anomaly in anomalies:
        if anomaly.traces and anomaly.metric in VOTING:
            for trace, time in anomaly.traces:
                odd[trace][anomaly.group] = min(time, odd[trace].get(anomaly.group, time))
    if not odd:
        return NOBODY
    shows: dict[str, int] = defaultdict(int)
    first: dict[str, int] = defaultdict(int)
    for times in odd.values():
        for group in times:
            shows[group] += 1
        begin = min(times.values())
        tied = sorted(group for group, time in times.items() if time <= begin + SAME)
        above = {g: sum(g in graph.below(environment, o, now) for o in tied if o != g) for g in tied if len(tied) > 1}
        first[max(tied, key=lambda group: above.get(group, 0))] += 1
    return Votes(shows, first, odd)
