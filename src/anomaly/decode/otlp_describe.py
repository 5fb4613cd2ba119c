"""A scanned block of OTLP metrics: its columns as points, and a series described from the bytes where the scanner met it.

Only what makes the series is read again, so whether a record is taken does not depend on whether its series are known.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope, KeyValue

from anomaly.decode import otlp_columns as at
from anomaly.decode import otlp_outline as where
from anomaly.decode import otlp_scan
from anomaly.decode.catalog import Description
from anomaly.decode.exponential import BOUNDS, COARSEST
from anomaly.decode.otlp_attributes import text
from anomaly.decode.otlp_samples import around, bounds_of, quantile_of
from anomaly.decode.points import Kind, Points
from anomaly.decode.records import BadRecord, Records

RESOURCE_ATTRIBUTES = 1  # fields of Resource and of the points
HISTOGRAM_BOUNDS, HISTOGRAM_ATTRIBUTES = 7, 9
NUMBER_ATTRIBUTES, SUMMARY_ATTRIBUTES, EXPONENTIAL_ATTRIBUTES = 7, 7, 1

# Bytes per point for which room is made at first: points with a label or two have more. Room for the smallest possible
# ones would be fresh pages of the system for every block, at a third of the speed.
USUAL_POINT = 32


@dataclass(slots=True)
class Scanned:
    """What the scanner made of a block; columns as `otlp_columns` and `otlp_outline` have them, cut to their length."""

    buffer: NDArray[np.uint8]
    out: NDArray[np.uint64]
    buckets: NDArray[np.float64]
    contexts: NDArray[np.int64]
    refused: NDArray[np.uint8]

    def points(self, series: NDArray[np.uint64], record: NDArray[np.int32]) -> Points:
        """The columns of a block, given what the wire does not say."""
        out = self.out
        return Points(
            series=series,
            time=out[at.TIME].view(np.int64),
            start=out[at.START].view(np.int64),
            value=out[at.VALUE].view(np.float64),
            count=out[at.COUNT].view(np.float64),
            kind=out[at.KIND].astype(np.uint8),
            flags=out[at.FLAGS].astype(np.uint8),
            record=record,
            bucket_at=out[at.BUCKET_AT].view(np.int64),
            bucket_len=out[at.BUCKET_LEN].astype(np.int32),
            buckets=self.buckets,
        )


def scan(records: Records, seed: int) -> Scanned:
    """Scan a block of records."""
    buffer = records.readable
    value_at, value_len = np.ascontiguousarray(records.value_at), np.ascontiguousarray(records.value_len)
    held, key = np.maximum(value_len, 0).astype(np.int64), np.uint64(seed)
    refused = np.zeros(len(records), np.uint8)

    contexts = np.empty((where.PLACES, int(held.sum()) // where.LEAST_METRIC + 2 * len(records)), np.int64)
    many = where.outline(buffer, value_at, value_len, key, contexts, refused)

    points, room = int((held // USUAL_POINT).sum()), int(held.sum()) // 8
    while True:
        out, buckets = np.empty((at.FIELDS, points), np.uint64), np.empty(room)
        used, verdict = np.zeros(2, np.int64), refused.copy()
        lacking = otlp_scan.scan(buffer, value_len, key, contexts, many, out, buckets, used, verdict)
        if lacking == at.OK:
            return Scanned(buffer, out[:, : used[at.POINTS]], buckets[: used[at.BUCKETS]], contexts, verdict)
        if lacking == at.FEW_POINTS:
            points = int((held // at.LEAST_POINT).sum())
        else:
            room = 4 * room + at.MOST_BUCKETS // 64


class Describer:
    """Gives the catalog the series of a scanned point."""

    def __init__(self, scanned: Scanned) -> None:
        self.scanned = scanned
        self.unreadable: list[int] = []  # wire keys of the points that could not be described
        self._around: dict[int, tuple[str, str, dict[str, str]]] = {}
        self._known: dict[bytes, tuple[str, str]] = {}  # attributes repeat over the series of a block

    def __call__(self, i: int) -> Description | None:
        """The series of point `i`; None if its text is not UTF-8 or its bounds do not rise."""
        out = self.scanned.out
        try:
            metric, unit, held = self._context(int(out[at.CONTEXT, i]))
            kind, point = Kind(int(out[at.KIND, i])), self._bytes(int(out[at.AT, i]), int(out[at.END, i]))
            field, more, limits = self._own(i, kind, point)
            return Description(metric, unit, held | self._attributes(point, field) | more, kind, limits)
        except (DecodeError, UnicodeDecodeError, BadRecord):
            self.unreadable.append(int(out[at.WIRE, i]))
            return None

    def _own(self, i: int, kind: Kind, point: bytes) -> tuple[int, dict[str, str], tuple[float, ...]]:
        """The field of a point's attributes, labels that its message does not hold as attributes, and bounds."""
        data = int(self.scanned.contexts[where.DATA, int(self.scanned.out[at.CONTEXT, i])])
        detail = self.scanned.out[at.DETAIL, i]
        if data == where.HISTOGRAM:
            return HISTOGRAM_ATTRIBUTES, {}, bounds(point)
        if data == where.EXPONENTIAL:
            return EXPONENTIAL_ATTRIBUTES, {}, BOUNDS[COARSEST + int(detail)]
        if data == where.SUMMARY and kind == Kind.GAUGE:
            return SUMMARY_ATTRIBUTES, {"quantile": quantile_of(float(detail.view(np.float64)))}, ()
        return NUMBER_ATTRIBUTES, {}, ()

    def _context(self, context: int) -> tuple[str, str, dict[str, str]]:
        if context not in self._around:
            place = self.scanned.contexts[:, context].tolist()
            resource = self._attributes(self._bytes(place[where.RESOURCE], place[where.RESOURCE_END]), RESOURCE_ATTRIBUTES)
            scope = InstrumentationScope.FromString(self._bytes(place[where.SCOPE], place[where.SCOPE_END]))
            metric = self._bytes(place[where.NAME], place[where.NAME_END]).decode()
            unit = self._bytes(place[where.UNIT], place[where.UNIT_END]).decode()
            self._around[context] = metric, unit, around(resource, scope)
        return self._around[context]

    def _attributes(self, message: bytes, field: int) -> dict[str, str]:
        """The attributes in `field` of a message, by the rule of `attributes` for a key that comes twice."""
        return dict(sorted(self._pair(part) for number, part in parts(message) if number == field))

    def _pair(self, part: bytes) -> tuple[str, str]:
        pair = self._known.get(part)
        if pair is None:
            found = KeyValue.FromString(part)
            pair = self._known[part] = found.key, text(found.value)
        return pair

    def _bytes(self, first: int, end: int) -> bytes:
        return self.scanned.buffer[first:end].tobytes()


def bounds(message: bytes) -> tuple[float, ...]:
    """The bounds of a HistogramDataPoint, packed as the scanner takes them."""
    packed = next((part for number, part in parts(message) if number == HISTOGRAM_BOUNDS), b"")
    return bounds_of(np.frombuffer(packed, "<f8").tolist())


def parts(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and content of the length-delimited fields of a message that the scanner found well-formed."""
    position = 0
    while position < len(message):
        tag, position = number(message, position)
        if tag & 7 == 2:
            length, position = number(message, position)
            yield tag >> 3, message[position : position + length]
            position += length
        elif tag & 7 == 0:
            _, position = number(message, position)
        else:
            position += 8 if tag & 7 == 1 else 4


def number(message: bytes, position: int) -> tuple[int, int]:
    """A variable-length integer and the position after it."""
    value = shift = 0
    while True:
        byte = message[position]
        value, shift, position = value | (byte & 127) << shift, shift + 7, position + 1
        if byte < 128:
            return value, position
