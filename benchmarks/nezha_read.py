"""The Nezha slice as rows: files plain, .gz or .xz, labels with or without spans to be ignored; what is missing is missing.

Rows come as they are in the files: repeated ones repeated, zero times zero, in any order. `at` is when a collector would
have sent a row, in ns: a line's time by the container runtime, a span's end, a sample's time.
"""

import csv
import gzip
import io
import json
import lzma
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from anomaly.host.labelled import ms

BEFORE_MS, AFTER_MS = 120_000, 240_000
# Fault-free but for labelled faults and spans to be ignored; the second day's begins with its fault-free minute.
CLEAN = (("2023-01-29T08:41:00Z", "2023-01-29T11:40:00Z"), ("2023-01-30T11:38:52Z", "2023-01-30T12:13:00Z"))
OPENERS: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.decompress, ".xz": lzma.decompress}
EVENT = 1_000_000  # ns in a ms

Span = tuple[int, int]  # ms, both ends included


class Fault(NamedTuple):
    """A labelled fault: when an alert finds it, whose it is, of what type, and what is broken within the service."""

    onset: int
    service: str
    type: str
    pod: str = ""
    cause: str = ""

    @property
    def span(self) -> Span:
        return self.onset - BEFORE_MS, self.onset + AFTER_MS


class LogRow(NamedTuple):
    """A line of a container; `time` as the file has it, ns, be it what it may."""

    at: int
    pod: str
    node: str
    trace: str
    span: str
    time: int
    body: str


class SpanRow(NamedTuple):
    """A span; `parent` is empty for a root; times in ns."""

    at: int
    pod: str
    trace: str
    span: str
    parent: str
    operation: str
    start: int
    end: int


class MetricRow(NamedTuple):
    """What was read of a pod, or of the front (no pod), at a time: columns as the file names them, only numbers."""

    at: int
    pod: str
    service: str
    values: dict[str, float]


Row = LogRow | SpanRow | MetricRow


def service_of(pod: str) -> str:
    """A pod's name without the two hashes of its deployment."""
    return pod.rsplit("-", 2)[0]


def read(path: Path) -> str:
    """A file's text, packed or not."""
    return OPENERS.get(path.suffix, bytes)(path.read_bytes()).decode()


def rows(path: Path) -> Iterator[dict[str, str]]:
    """Of a table."""
    return csv.DictReader(io.StringIO(read(path), newline=""))


def found(root: Path, pattern: str) -> list[Path]:
    """Files of the slice, whatever they are packed with, by name."""
    return sorted(path for path in root.glob(pattern + "*") if path.suffix in (".csv", *OPENERS))


def one(root: Path, name: str) -> Path | None:
    """The table of this name."""
    return next(iter(found(root, name)), None)


def faults(root: Path) -> list[Fault]:
    """Of the slice; none where there are no labels."""
    path = one(root, "labels.csv")
    table = rows(path) if path else ()
    return [Fault(ms(r["onset_utc"]), r["service"], r["type"], r.get("pod", ""), r.get("root_cause", "")) for r in table]


def ignored(root: Path) -> list[tuple[str, Span]]:
    """Spans in which nobody knows, with the service concerned; empty: all."""
    path = one(root, "ignore_windows.csv")
    return [(r["service"], (ms(r["start_utc"]), ms(r["end_utc"]))) for r in (rows(path) if path else ())]


def clean(time: int, labelled: list[Fault], unsure: list[tuple[str, Span]]) -> bool:
    """Whether nothing is wrong at this ms, for certain."""
    sure = any(ms(a) <= time <= ms(b) for a, b in CLEAN)
    return sure and not any(a <= time <= b for a, b in [*(f.span for f in labelled), *(span for _, span in unsure)])


def metrics(root: Path) -> Iterator[MetricRow]:
    """All pods, and the front."""
    for row in chain.from_iterable(map(rows, found(root, "rca_data/*/metric/*.csv"))):
        pod, at = row.get("PodName") or "", int(row["TimeStamp"]) * 1000 * EVENT
        values = {name: value for name, text in row.items() if (value := number(text)) == value and name != "TimeStamp"}
        yield MetricRow(at, pod, service_of(pod) if pod else row.get("ServiceName") or "front", values)


def number(text: str | None) -> float:
    """NaN for what is none."""
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")


def logs(root: Path) -> Iterator[LogRow]:
    """All lines. Behind the JSON of a line whose quoting is broken stands the rest of another one: it is left out."""
    decode = json.JSONDecoder().raw_decode
    for row in chain.from_iterable(map(rows, found(root, "*_data/*/log/*.csv"))):
        held, _ = decode(row["Log"])
        time = int(row["TimeUnixNano"])
        at = time if time > 0 else nanoseconds(held["time"])
        yield LogRow(at, row["PodName"], row["Node"], row["TraceID"], row["SpanID"], time, held["log"].rstrip("\n"))


def spans(root: Path) -> Iterator[SpanRow]:
    """All spans."""
    for row in chain.from_iterable(map(rows, found(root, "*_data/*/trace/*.csv"))):
        parent = "" if row["ParentID"] == "root" else row["ParentID"]
        start, end = int(row["StartTimeUnixNano"]), int(row["EndTimeUnixNano"])
        yield SpanRow(end, row["PodName"], row["TraceID"], row["SpanID"], parent, row["OperationName"], start, end)


def nanoseconds(text: str) -> int:
    """Of an RFC 3339 time in UTC, to the nanosecond."""
    return int(np.datetime64(text.removesuffix("Z"), "ns").astype(np.int64))
