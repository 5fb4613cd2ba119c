"""Spans as columns: what every encoding of traces decodes to, and what calls and durations are counted from.

A span ends where it is counted: `time` is when it ended, in ms, or when it began where no end is given, and 0 where neither
is (which the stage sets aside). Its duration is UNKNOWN where a time is missing, or where it ends before it begins: a clock
was set, and the request was none the less.
"""

from base64 import b64decode
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly.decode.records import BadRecord

UNSPECIFIED, INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = range(6)
KINDS = tuple(f"SPAN_KIND_{name}" for name in ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"))
UNSET, OKAY, ERROR = range(3)
STATUSES = "STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"
UNKNOWN = -1  # a duration
NANOSECONDS = 1_000_000  # in a millisecond


@dataclass(slots=True)
class Spans:
    """n spans in arrival order, of r resources; `sender`, `told` and `text` are what columns point to.

    record   int32  (n,)   the record it came in: its index while a block is decoded
    resource int32  (n,)   index into `sender`
    name     uint64 (n,)   seeded hash of the operation's name, whose bytes are text[name_at:name_end]
    trace, trace_low uint64 (n,)  the halves of the trace id as they lie in memory, both 0: none
    span, parent uint64 (n,)  span ids, 0: none
    kind, status uint8 (n,)   as above; what nobody knows is UNSPECIFIED and UNSET
    start    int64  (n,)   ns since the epoch, 0: not given
    duration int64  (n,)   ns, or UNKNOWN
    time     int64  (n,)   ms since the epoch
    sender   uint64 (r,)   seeded hash of a resource's attributes
    told     gives the attributes of a resource by its index; raises BadRecord where they cannot be read
    """

    record: NDArray[np.int32]
    resource: NDArray[np.int32]
    name: NDArray[np.uint64]
    name_at: NDArray[np.int64]
    name_end: NDArray[np.int64]
    trace: NDArray[np.uint64]
    trace_low: NDArray[np.uint64]
    span: NDArray[np.uint64]
    parent: NDArray[np.uint64]
    kind: NDArray[np.uint8]
    status: NDArray[np.uint8]
    start: NDArray[np.int64]
    duration: NDArray[np.int64]
    time: NDArray[np.int64]
    sender: NDArray[np.uint64]
    told: Callable[[int], dict[str, str]]
    text: NDArray[np.uint8]

    def __len__(self) -> int:
        return int(self.span.size)

    def take(self, index: NDArray[np.intp] | NDArray[np.bool_]) -> "Spans":
        """The spans at `index`, in that order."""
        columns = {name: getattr(self, name)[index] for name in BY_SPAN}
        return Spans(**columns, sender=self.sender, told=self.told, text=self.text)

    def operation(self, i: int) -> str:
        """The name of an operation; raises BadRecord if it is no text."""
        try:
            return self.text[self.name_at[i] : self.name_end[i]].tobytes().decode()
        except UnicodeDecodeError as error:
            raise BadRecord("malformed", f"the name of a span: {error}") from error

    @classmethod
    def joined(cls, a: "Spans", b: "Spans") -> "Spans":
        """The spans of both, by the order of their records."""
        columns = {name: np.concatenate([getattr(a, name), getattr(b, name)]) for name in BY_SPAN}
        columns["resource"][len(a) :] += a.sender.size
        for name in ("name_at", "name_end"):
            columns[name][len(a) :] += a.text.size
        sender, first = np.concatenate([a.sender, b.sender]), a.sender.size

        def told(r: int) -> dict[str, str]:
            return a.told(r) if r < first else b.told(r - first)

        whole = cls(**columns, sender=sender, told=told, text=np.concatenate([a.text, b.text]))
        return whole.take(np.argsort(whole.record, kind="stable"))


BY_SPAN = tuple(f.name for f in fields(Spans) if f.name not in ("sender", "told", "text"))


class Span(NamedTuple):
    """One span as a parser gives it; ids as numbers, 0: none; times in ns since the epoch, 0: not given."""

    resource: dict[str, str]
    operation: str
    trace: tuple[int, int]
    span: int
    parent: int
    kind: int
    status: int
    start: int
    end: int


def number_of(raw: bytes) -> int:
    """An id of eight bytes as it comes off the wire; any other length is none."""
    return int.from_bytes(raw, "little") if len(raw) == 8 else 0


def trace_of(raw: bytes) -> tuple[int, int]:
    """A trace id; one of eight bytes, as old tracers make them, is the second half of one that begins with zeros."""
    raw = raw.rjust(16, b"\0") if len(raw) == 8 else raw
    return (number_of(raw[:8]), number_of(raw[8:])) if len(raw) == 16 else (0, 0)


def time_of(start: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.int64]:
    """When a span is counted, ms: at its end, or at its begin where it has none."""
    return np.where(end != 0, end, start) // NANOSECONDS


def duration_of(start: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.int64]:
    """How long a span took, ns; UNKNOWN where a time is missing or they are the wrong way round."""
    return np.where((start > 0) & (end >= start), end - start, UNKNOWN)


def hexadecimal(text: str, length: int = 8) -> bytes:
    """An id in hex, filled up with zeros in front, or in base64, as some exporters wrongly send it; b"": none."""
    if len(text) <= 2 * length:
        with suppress(ValueError):
            return bytes.fromhex(text.rjust(2 * length, "0")) if text else b""
    try:
        return b64decode(text, validate=True)
    except ValueError as error:
        raise BadRecord("malformed", f"an id is neither hex nor base64: {text[:40]!r}") from error
