"""Feeds a detector from a timeline, and remembers what it judged and said."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from anomaly.config.models import Match, ModelSpec
from anomaly.config.settings import IdentitySettings, Limits, Settings
from anomaly.decode.block import Announced, Block
from anomaly.decode.identity import Identity, Series
from anomaly.decode.points import Flag, Kind, Points
from anomaly.detect.anomaly import Anomaly, Tick
from anomaly.detect.detector import Detector
from anomaly.detect.judge import Batch, Verdicts
from anomaly.detect.watch import watch

T0 = 1_700_000_100_000  # a multiple of five minutes after the epoch
DEFAULT = ModelSpec(name="default", match=(Match(),))
IDENTITY = Identity(Settings().identity)


class P(NamedTuple):
    """A point: `at` and `start` in seconds since T0 (start None: not given)."""

    series: Series
    at: float
    value: float
    start: float | None = None
    observations: float = 0.0
    buckets: tuple[float, ...] = ()
    flags: Flag = Flag.NONE
    writer: int = 0


def series(
    metric: str = "m", kind: Kind = Kind.GAUGE, unit: str = "", bounds: tuple[float, ...] = (), **attributes: str
) -> Series:
    """A series of service `shop`; `instance` and `service` may be given, `__` in a name stands for a dot."""
    named = {k.replace("__", "."): v for k, v in attributes.items()}
    named["service.name"] = named.pop("service", "shop")
    return IDENTITY.series(metric, unit, named, kind, bounds)


def columns(points: Sequence[P]) -> Points:
    """The points as columns."""
    out = Points.empty(len(points), sum(len(p.buckets) for p in points))
    at = 0
    for i, p in enumerate(points):
        out.series[i], out.time[i], out.value[i], out.count[i] = p.series.hash, ms(p.at), p.value, p.observations
        out.start[i] = 0 if p.start is None else ms(p.start)
        out.kind[i], out.flags[i], out.writer[i] = p.series.kind, p.flags, p.writer
        out.bucket_at[i], out.bucket_len[i] = at, len(p.buckets)
        out.buckets[at : at + len(p.buckets)] = p.buckets
        at += len(p.buckets)
    return out


def ms(seconds: float) -> int:
    """Milliseconds since the epoch of a time in seconds since T0."""
    return T0 + round(seconds * 1000)


@dataclass
class Feed:
    """A detector with its memory: `said`, and `judged` (subject's metric, quantity, seconds since T0, value, score)."""

    specs: Sequence[ModelSpec] = (DEFAULT,)
    waiting: int = 100_000
    lateness: int = 10_000
    limits: Limits | None = None
    giants: tuple[str, ...] = ()
    said: list[Anomaly] = field(default_factory=list)
    ticks: list[Tick] = field(default_factory=list)
    judged: list[tuple[str, str, float, float, float]] = field(default_factory=list)
    heard: dict[tuple[str, int], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        limits, identity = self.limits or Limits(waiting_points=self.waiting), IdentitySettings(giants=self.giants)
        self.detector = Detector(0, self.specs, Settings(limits=limits, identity=identity))
        self._announced: set[int] = set()

        def remember(batch: Batch, verdicts: Verdicts) -> None:
            for row, time, value, judged in zip(batch.row, batch.time, verdicts.value, verdicts.judged, strict=True):
                s = self.detector.register.subjects[row]
                self.judged.append((s.metric, s.quantity, (int(time) - T0) / 1000, float(value), float(judged[0])))

        watch(self.detector.judge, after=remember)

    def block(self, points: Sequence[P], source: str = "metrics", partition: int = 0, announce: bool = True) -> Block:
        """A block of the points; their series are announced with their first point."""
        new = {p.series.hash: p.series for p in points if announce and p.series.hash not in self._announced}
        self._announced |= set(new)
        place = source, partition
        self.heard[place] = max([self.heard.get(place, 0), *(ms(p.at) for p in points)])
        return Block(source, partition, 0, 0, self.heard[place], self.lateness, columns(points), Announced.of(new.values()))

    def send(self, *points: P, source: str = "metrics", partition: int = 0, announce: bool = True) -> list[Anomaly]:
        """Detect one block of points; the anomalies it said."""
        return self.take(self.block(points, source, partition, announce))

    def take(self, block: Block) -> list[Anomaly]:
        """Detect a block."""
        events = self.detector.detect(block)
        said = [e for e in events if isinstance(e, Anomaly)]
        self.said += said
        self.ticks += [e for e in events if isinstance(e, Tick)]
        return said

    def play(self, points: Iterable[P], every: float = 1.0) -> None:
        """Send points in the order given, in blocks of `every` seconds."""
        held: list[P] = []
        for p in points:
            if held and p.at // every != held[-1].at // every:
                self.send(*held)
                held = []
            held.append(p)
        if held:
            self.send(*held)

    def values(self, metric: str = "m", quantity: str = "value") -> dict[float, float]:
        """What was judged of a metric: seconds since T0 -> value, what is not known left out."""
        return {t: v for m, q, t, v, _ in self.judged if (m, q) == (metric, quantity) and not np.isnan(v)}
