"""What the detector hears of each service, for the eye: requests a second, mean duration, share of errors.

Read from the same points that are judged, over the last seconds; nothing is decided by it.
"""

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from anomaly.decode.block import Block
from anomaly.decode.identity import Series

METRIC = "http.server.request.duration"
STATUS = "http.response.status_code"
OVER = 5_000  # ms


class Seen(NamedTuple):
    """A series at a moment (ms): requests so far, and the sum of their durations (seconds)."""

    time: int
    requests: float
    seconds: float


class Vitals(NamedTuple):
    """A service over the last seconds: requests a second, mean duration in seconds (NaN without any), share of errors."""

    rate: float
    duration: float
    errors: float


class Pulse:
    """Keeps the last seconds of each request series."""

    def __init__(self) -> None:
        self._series: dict[int, Series] = {}
        self._seen: dict[int, deque[Seen]] = {}

    def hear(self, blocks: Iterable[tuple[int, Block]]) -> None:
        """Take in what was decoded."""
        for _, block in blocks:
            self._series.update((s.hash, s) for s in block.series if s.metric == METRIC)
            points = block.points
            for i in np.flatnonzero(np.isin(points.series, np.array(list(self._series), np.uint64))):
                past = self._seen.setdefault(int(points.series[i]), deque([Seen(int(points.start[i]), 0.0, 0.0)]))
                past.append(Seen(int(points.time[i]), float(points.count[i]), float(points.value[i])))
                while len(past) > 2 and past[1].time <= past[-1].time - OVER:
                    past.popleft()

    @property
    def heard(self) -> bool:
        """Whether anything was heard at all."""
        return bool(self._seen)

    def vitals(self, service: str) -> Vitals:
        """How a service is."""
        requests = seconds = errors = 0.0
        for key, past in self._seen.items():
            series = self._series[key]
            if series.group.rpartition("/")[2] == service and past[-1].time >= self._newest() - OVER:
                share = min(1.0, OVER / max(past[-1].time - past[0].time, 1))
                n = (past[-1].requests - past[0].requests) * share
                requests, seconds = requests + n, seconds + (past[-1].seconds - past[0].seconds) * share
                errors += n * dict(series.labels).get(STATUS, "").startswith("5")
        known = requests > 0
        return Vitals(requests / (OVER / 1000), seconds / requests if known else np.nan, errors / requests if known else 0.0)

    def _newest(self) -> int:
        return max((past[-1].time for past in self._seen.values()), default=0)
