"""How often one service calls another, told to correlate: at first sight, and then at most once in EVERY ms of data time.

Counted from the series that count calls: those that spans became (`decode.spans_series.REQUESTS`: of the callee's group, by
`client`), and those that the Collector's service graph connector, or Tempo, makes of spans (by `client` and `server`, which
are names of services: right where groups are called by no more than that).

At most `most` callers with their callees, and ten series of each; past that the ones that were met first give way, and are
counted. What is due is decided point by point, in arrival order, so that no border of a block is seen in it.
"""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from anomaly.decode.block import Announced
from anomaly.decode.identity import unpack
from anomaly.decode.points import Flag, Kind, Points
from anomaly.decode.spans_series import REQUESTS
from anomaly.detect.beside import Calls

CONNECTOR = "traces_service_graph_request_total", "traces_service_graph_request"  # as exporters and OTLP name it
WORDS = REQUESTS.encode(), CONNECTOR[1].encode()
EVERY = 60_000  # ms
SERIES = 10  # of a caller and its callee: operations by status
VERSION = 1

Who = tuple[str, str, str]  # environment, caller, callee


class Count(msgspec.Struct, array_like=True):
    """Calls since they were last told, and when that was; None: never."""

    calls: float = 0.0
    told: int | None = None


class Kept(msgspec.Struct, array_like=True):
    """All state. Series: hash, who, and the last reading of a counter."""

    version: int
    series: list[tuple[int, Who, float | None]]
    counts: list[tuple[Who, Count]]
    over: int


_to_kept, _from_kept = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(Kept).decode


class CallCounts:
    """The calls among the points of one partition. `over` counts those of whom there were too many."""

    def __init__(self, most: int) -> None:
        self.most, self.over = most, 0
        self._who: OrderedDict[int, Who] = OrderedDict()
        self._read: dict[int, float] = {}  # of counters, the last value
        self._counts: OrderedDict[Who, Count] = OrderedDict()
        self._hashes: NDArray[np.uint64] | None = None  # of `_who`, sorted; None: to be made

    def announced(self, new: Announced) -> None:
        """Learn which of these series count calls."""
        for i in new.holding(*WORDS):
            hashed = int(new.hash[i])
            if hashed not in self._who:
                series = unpack(hashed, new.text[i])
                labels = dict(series.labels) | dict(series.instance)
                client, server = labels.get("client"), labels.get("server")
                callee = series.group if series.metric == REQUESTS else server if series.metric in CONNECTOR else None
                if client and callee:
                    self._meet(hashed, (series.environment, client, callee))

    def take(self, points: Points) -> Iterator[Calls]:
        """Count the calls among points; what is due to be told."""
        if not self._who or not len(points):
            return
        if self._hashes is None:
            self._hashes = np.sort(np.fromiter(self._who, np.uint64, len(self._who)))
        at = np.minimum(np.searchsorted(self._hashes, points.series), self._hashes.size - 1)
        ours = (self._hashes[at] == points.series) & (points.flags & Flag.STALE == 0)
        if not ours.any():
            return
        columns: tuple[NDArray[Any], ...] = points.series, points.value, points.kind, points.time
        for hashed, value, kind, time in zip(*(c[ours].tolist() for c in columns), strict=True):
            who = self._who[hashed]
            if (count := self._counts.get(who)) is None:
                continue  # gave way
            count.calls += value if kind == Kind.DELTA else self._since(hashed, value)
            if count.calls > 0 and (count.told is None or time >= count.told + EVERY):
                environment, caller, callee = who
                yield Calls(environment=environment, caller=caller, callee=callee, calls=count.calls, time=time)
                count.calls, count.told = 0.0, time

    def overflow(self) -> list[tuple[str, str, int]]:
        """As `Detector.overflow`; of all environments."""
        return [("", REQUESTS, self.over)] if self.over else []

    def dump(self) -> bytes:
        """All state; empty where nobody calls."""
        if not self._who:
            return b""
        series = [(hashed, who, self._read.get(hashed)) for hashed, who in self._who.items()]
        return _to_kept(Kept(VERSION, series, list(self._counts.items()), self.over))

    def load(self, data: bytes, same_seed: bool) -> None:
        """What `dump` gave; under another seed of hashes the series are announced anew. Another version begins anew."""
        kept = _from_kept(data) if data else Kept(VERSION, [], [], 0)
        if kept.version != VERSION:
            return
        self.over, self._counts, self._hashes = kept.over, OrderedDict(kept.counts), None
        series = kept.series if same_seed else []
        self._who = OrderedDict((hashed, who) for hashed, who, _ in series)
        self._read = {hashed: value for hashed, _, value in series if value is not None}

    def _since(self, hashed: int, value: float) -> float:
        """What a counter counted since its last reading; one that fell began again."""
        before = self._read.get(hashed)
        self._read[hashed] = value
        return 0.0 if before is None else value - before if value >= before else value

    def _meet(self, hashed: int, who: Who) -> None:
        if who not in self._counts:
            if len(self._counts) >= self.most:
                self.over += 1
                self._counts.popitem(last=False)
            self._counts[who] = Count()
        if len(self._who) >= SERIES * self.most:
            oldest, _ = self._who.popitem(last=False)
            self._read.pop(oldest, None)
        self._who[hashed], self._hashes = who, None
