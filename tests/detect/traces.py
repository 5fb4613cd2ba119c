"""Traces of a small shop, as points of steps and durations: what the join of traces would make of them."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise

import numpy as np
from msgspec.structs import replace
from tests.detect.feed import T0

from anomaly.config.load import load_specs
from anomaly.config.settings import Limits, Settings
from anomaly.decode.block import Announced, Block
from anomaly.decode.identity import EXAMPLE, Identity, Series
from anomaly.decode.points import Flag, Kind, Points
from anomaly.decode.spans_series import BOUNDS, BUCKETS
from anomaly.decode.steps_series import CELL, NEXT, OPERATION, SELF, STEP, STEPS
from anomaly.detect.anomaly import Anomaly
from anomaly.detect.detector import Detector

IDENTITY = Identity(Settings().identity)
NORMAL_AFTER = 1_200.0  # s
SPECS = [replace(s, new_normal_after=NORMAL_AFTER) if s.name.startswith("trace-") else s for s in load_specs()]
FIRST = T0 // CELL
Walk = tuple[str, str, tuple[str, ...], float]  # service, operation, events, own time in s
GOOD: tuple[Walk, ...] = (
    ("web", "POST /order", ("start", "INFO Web.java:12", "call order Create", "INFO Web.java:20", "end"), 0.005),
    ("order", "Create", ("start", "INFO Order.java:41", "call pay Charge", "INFO Order.java:55", "end"), 0.01),
    ("pay", "Charge", ("start", "INFO Pay.java:9", "end"), 0.02),
)


@cache
def series(metric: str, service: str, operation: str, **labels: str) -> Series:
    """A series of a service's operation."""
    named = {"service.name": service, OPERATION: operation, **labels}
    if metric == STEPS:
        return IDENTITY.series(metric, "1", named, Kind.DELTA)
    return IDENTITY.series(metric, "s", named, Kind.HISTOGRAM_DELTA, BOUNDS)


@dataclass
class Shop:
    """A detector that is fed a cell at a time; `said` of what it said."""

    limits: Limits = field(default_factory=Limits)
    said: list[Anomaly] = field(default_factory=list)
    examples: dict[str, str] = field(default_factory=dict)
    lateness: int = 10_000

    def __post_init__(self) -> None:
        self.detector = Detector(0, SPECS, Settings(limits=self.limits))
        self.known, self.traces = set[int](), 0

    def block(self, cell: int, traces: Iterable[Iterable[Walk]]) -> Block:
        """The points of the traces of a cell, numbered from FIRST on; each service's series come once."""
        steps, exemplars = Counter[Series](), dict[Series, list[int]]()
        slow = dict[Series, np.ndarray]()
        end = (FIRST + cell + 1) * CELL
        for trace in traces:
            self.traces += 1
            met = dict[Series, None]()
            for service, operation, events, seconds in trace:
                for a, b in pairwise(events):
                    met[self._series(service, operation, a)] = met[self._series(service, operation, a, b)] = None
                own = series(SELF, service, operation)
                counts = slow.setdefault(own, np.zeros(BUCKETS))
                counts[np.searchsorted(BOUNDS, seconds)] += 1
                exemplars.setdefault(own, []).append(self.traces)
            for one in met:
                steps[one] += 1
                exemplars.setdefault(one, []).append(self.traces)
        held = [*steps, *slow]
        points, buckets = Points.empty(len(held)), list[np.ndarray]()
        for i, one in enumerate(held):
            counts = slow.get(one, np.zeros(0))
            words = [[0, n, end - CELL + 1] for n in exemplars[one][:4]]
            points.bucket_at[i] = sum(b.size for b in buckets)
            buckets += [counts, np.array(words, np.uint64).reshape(-1).view(np.float64)]
            points.bucket_len[i] = sum(b.size for b in buckets[-2:])
            points.series[i], points.kind[i], points.flags[i] = one.hash, one.kind, Flag.PART
            points.value[i], points.count[i] = steps.get(one, 0) or 1.0, counts.sum()
        points.start[:], points.time[:] = end - CELL, end
        points.buckets = np.concatenate([np.zeros(0), *buckets])
        new = [one for one in held if one.hash not in self.known]
        self.known |= {one.hash for one in new}
        heard = end + 10_000 + self.lateness
        return Block("spans", 0, 0, 0, heard, self.lateness, points, Announced.of(new))

    def _series(self, service: str, operation: str, a: str, b: str = "") -> Series:
        labels = {STEP: a, **({NEXT: b} if b else {})}
        labels |= {EXAMPLE: self.examples[b or a]} if (b or a) in self.examples else {}
        return series(STEPS, service, operation, **labels)

    def play(self, begin: int, end: int, traces: Callable[[int], Iterable[Iterable[Walk]]]) -> list[Anomaly]:
        """Cells [begin, end), each with its traces; what was said."""
        before = len(self.said)
        for cell in range(begin, end):
            found = self.detector.detect(self.block(cell, traces(cell)))
            self.said += [a for a in found if isinstance(a, Anomaly)]
        return self.said[before:]


def changed(
    walks: tuple[Walk, ...], service: str, events: tuple[str, ...] | None = None, seconds: float | None = None
) -> tuple[Walk, ...]:
    """The same trace, with another course or own time in one service."""
    return tuple((s, o, events or e, seconds or t) if s == service else (s, o, e, t) for s, o, e, t in walks)
