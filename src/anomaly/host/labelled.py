"""What was known to be wrong, as windows of time per file, and what of it a replay has found.

The file is JSON in the form of the Numenta Anomaly Benchmark: `{"folder/name.csv": [["2014-04-10 07:15:00", "…"], …]}`, UTC.
A window is found by an incident of its file's group whose first alert lies within it, both ends included. One that was
open already when the window began finds nothing: nobody would have been told of the new trouble.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from anomaly.dispatch.alert import Alert

Track = tuple[NDArray[np.int64], NDArray[np.float64]]  # time [ms since the epoch], value
Windows = dict[str, list[tuple[int, int]]]  # by file, ms since the epoch


class Alerted(Protocol):
    """What a verdict needs of an incident."""

    @property
    def first(self) -> Alert:
        """Its first alert."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One window: when it was found, if it was (ms since the epoch)."""

    file: str
    group: str
    start: int
    end: int
    found: int | None

    def text(self) -> str:
        """In words."""
        at = f"{datetime.fromtimestamp(self.start / 1000, UTC):%Y-%m-%d %H:%M}"
        if self.found is None:
            return f"{self.group}: the window from {at} was missed"
        return f"{self.group}: the window from {at} was found after {(self.found - self.start) / 60_000:,.0f} min"


@dataclass(frozen=True, slots=True)
class Verdicts:
    """All windows of the files replayed, and how many incidents lay outside of them."""

    windows: tuple[Verdict, ...]
    others: int

    def counts(self) -> dict[str, object]:
        """In numbers."""
        delays = [
            {"group": w.group, "start": iso(w.start), "delay_s": (w.found - w.start) / 1000}
            for w in self.windows
            if w.found is not None
        ]
        return {"windows": len(self.windows), "found": len(delays), "outside_windows": self.others, "delays": delays}

    def lines(self) -> list[str]:
        """In words, a line each."""
        found = sum(w.found is not None for w in self.windows)
        outside = f"{self.others} incident{'s' * (self.others != 1)} outside of them"
        total = f"{found} of {len(self.windows)} labelled windows found, {outside}"
        return [w.text() for w in self.windows] + [total]


def read(path: str) -> Windows:
    """The label file."""
    return {f: [(ms(a), ms(b)) for a, b in windows] for f, windows in orjson.loads(Path(path).read_bytes()).items()}


def judge(labels: Windows, files: Sequence[str], cases: Iterable[Alerted]) -> Verdicts:
    """Each window of the files replayed against the incidents of its group."""
    times: dict[str, list[int]] = {}
    for case in cases:
        times.setdefault(case.first.group, []).append(ms(case.first.time))
    verdicts, others = [], sum(map(len, times.values()))
    for file in files:
        group, alerted = Path(file).stem, times.get(Path(file).stem, [])
        windows = windows_of(labels, file)
        others -= sum(any(a <= t <= b for a, b in windows) for t in alerted)
        for start, end in windows:
            verdicts.append(Verdict(file, group, start, end, min((t for t in alerted if start <= t <= end), default=None)))
    return Verdicts(tuple(verdicts), others)


def windows_of(labels: Windows, file: str) -> list[tuple[int, int]]:
    """The windows of the label whose path is the end of the file's path."""
    parts = Path(file).parts
    return next((w for name, w in labels.items() if parts[-len(Path(name).parts) :] == Path(name).parts), [])


def ms(text: str) -> int:
    """Milliseconds since the epoch of an ISO 8601 time; without a zone it is UTC."""
    moment = datetime.fromisoformat(text)
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def iso(time_ms: int) -> str:
    """The same the other way round, in RFC 3339."""
    return f"{np.datetime64(time_ms, 'ms')}Z"
