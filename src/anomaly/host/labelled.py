"""What was known to be wrong, as windows of time per file or group, and what of it a replay has found.

The file is JSON in the form of the Numenta Anomaly Benchmark: `{"folder/name.csv": [["2014-04-10 07:15:00", "…"], …]}`, UTC.
A key that is no name of a data file is a group's, as alerts name it: `{"shop/checkout": [[…]]}`.
A window is found by an incident of its group whose first alert lies within it, both ends included. One that was open
already when the window began finds nothing: nobody would have been told of the new trouble. An incident is true if it was
first alerted within a window, else false; precision is the share of the true ones. A page is one that became critical.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import numpy as np
import orjson

from anomaly.dispatch.alert import Alert, Severity
from anomaly.host.files import BY_SUFFIX, PACKED
from anomaly.host.past import Stretch

Windows = dict[str, list[tuple[int, int]]]  # by file, ms since the epoch


class Alerted(Protocol):
    """What a verdict needs of an incident."""

    @property
    def first(self) -> Alert:
        """Its first alert."""

    @property
    def worst(self) -> Severity:
        """The highest severity it reached."""


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
    """All windows of what was replayed, in `weeks`; how many `incidents` there were, `true` ones, and of both the pages."""

    windows: tuple[Verdict, ...]
    weeks: float
    incidents: int
    true: int
    pages: int
    true_pages: int

    @property
    def others(self) -> int:
        """Incidents outside of all windows."""
        return self.incidents - self.true

    @property
    def delays(self) -> list[float]:
        """Seconds from the beginning of each window that was found to its alert."""
        return [(w.found - w.start) / 1000 for w in self.windows if w.found is not None]

    def counts(self) -> dict[str, object]:
        """In numbers; null where nothing is there to be divided by."""
        found = [w for w in self.windows if w.found is not None]
        delays = [{"group": w.group, "start": iso(w.start), "delay_s": d} for w, d in zip(found, self.delays, strict=True)]
        return {
            "windows": len(self.windows),
            "found": len(found),
            "outside_windows": self.others,
            "weeks": round(self.weeks, 3),
            "false_per_week": share(self.others, self.weeks),
            "precision": share(self.true, self.incidents),
            "pages": self.pages,
            "true_pages": self.true_pages,
            "median_delay_s": float(np.median(self.delays)) if self.delays else None,
            "delays": delays,
        }

    def lines(self) -> list[str]:
        """In words, a line each."""
        outside = f"{self.others} incident{'s' * (self.others != 1)} outside of them"
        total = f"{len(self.delays)} of {len(self.windows)} labelled windows found, {outside}"
        per_week, precision = share(self.others, self.weeks), share(self.true, self.incidents)
        parts = [f"{per_week:.2f} false a week"] if per_week is not None else []
        parts += [f"precision {precision:.2f}"] if precision is not None else []
        parts += [f"median delay {np.median(self.delays) / 60:,.0f} min"] if self.delays else []
        parts.append(f"{self.true_pages} of {self.pages} pages true")
        return [w.text() for w in self.windows] + [total, ", ".join(parts)]


def share(part: float, of: float) -> float | None:
    """A quotient, None of nothing."""
    return part / of if of else None


def read(path: str) -> Windows:
    """The label file."""
    return {f: [(ms(a), ms(b)) for a, b in windows] for f, windows in orjson.loads(Path(path).read_bytes()).items()}


def judge(
    labels: Windows,
    files: Sequence[str],
    cases: Iterable[Alerted],
    weeks: float = 0.0,
    stretch: Stretch = Stretch(),  # noqa: B008 (frozen)
) -> Verdicts:
    """Each window of what was replayed, and within the stretch, against the incidents of its group."""
    held = list(cases)
    windows = [Verdict(*key, a, b, None) for key, own in windows_by_group(labels, files) for a, b in own]
    windows = [w for w in windows if w.end >= (stretch.begin or 0) and w.start <= stretch.last]
    true = [case for case in held if any(within(case, w) for w in windows)]
    pages, true_pages = (sum(case.worst is Severity.CRITICAL for case in some) for some in (held, true))
    times = [[ms(case.first.time) for case in true if within(case, w)] for w in windows]
    verdicts = tuple(replace(w, found=min(found, default=None)) for w, found in zip(windows, times, strict=True))
    return Verdicts(verdicts, weeks, len(held), len(true), pages, true_pages)


def within(case: Alerted, window: Verdict) -> bool:
    """Whether an incident of the window's group was first alerted within it."""
    return case.first.group == window.group and window.start <= ms(case.first.time) <= window.end


def windows_by_group(labels: Windows, files: Sequence[str]) -> Iterator[tuple[tuple[str, str], list[tuple[int, int]]]]:
    """((file, group), windows): of the files that were replayed, in their order, then of groups by their names."""
    for file in files:
        if windows := windows_of(labels, file):
            yield (file, Path(file).stem), windows
    for name, windows in labels.items():
        if Path(name.removesuffix(PACKED)).suffix not in BY_SUFFIX:
            yield (name, name), windows


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
