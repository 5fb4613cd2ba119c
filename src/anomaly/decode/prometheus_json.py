"""One sample of one series as a JSON message, as Telefonica's prometheus-kafka-adapter writes it:

    {"timestamp": "2026-01-01T00:00:00Z", "value": "1.5", "name": "up", "labels": {"__name__": "up", "job": "shop"}}

A message a point makes this the encoding with the most records. So the usual form is scanned (`json_scan`), and a series
is found by the bytes of its labels, which the complete decoder has read once; that one also reads every message of any
other form, and says what is wrong with one. Types are not on the wire: `naming` guesses them.
"""

import numpy as np
from msgspec import Raw, Struct
from msgspec.json import Decoder
from numpy.typing import NDArray

from anomaly.decode.catalog import Catalog, Description
from anomaly.decode.encodings import Decoded, key, register
from anomaly.decode.index import MISSING
from anomaly.decode.json_scan import NUMBER, REFUSED, scan
from anomaly.decode.known import OVERFLOW, Known
from anomaly.decode.naming import kind_of, unit_of
from anomaly.decode.points import Points
from anomaly.decode.records import BadRecord, DeadLetter, Records
from anomaly.decode.text import epoch, instant, number, read_json, real, utf8


class Message(Struct, gc=False):
    """Every form that can be meant."""

    timestamp: str | int | float
    value: str | int | float
    name: str
    labels: Raw


_MESSAGE, _LABELS = Decoder(Message), Decoder(dict[str, str])


class PrometheusJson:
    """Decodes blocks of messages, one point each."""

    def __init__(self) -> None:
        self._known = Known("prometheus_json")

    def decode(self, records: Records, catalog: Catalog) -> Decoded:
        """Decode a block; arrival order is kept."""
        block = Messages(records, self._known.seed(catalog))
        self._find(block, catalog)
        self._numbers(block)
        self._others(block, catalog)
        return self._decoded(block, catalog)

    def _find(self, block: "Messages", catalog: Catalog) -> None:
        """Rows of the scanned messages; the first one of each unknown key is read wholly."""
        scanned = np.flatnonzero(block.form != REFUSED)
        if not scanned.size:
            return
        every = scanned.size == block.form.size
        keys = block.key if every else block.key[scanned]
        rows = self._known.rows(keys, catalog, lambda j: described(block.message(int(scanned[j]))))
        if every:
            block.row = rows
        else:
            block.row[scanned] = rows

    def _numbers(self, block: "Messages") -> None:
        """Numbers that the scanner left: ties of two doubles, NaN, infinities."""
        for i in np.flatnonzero((block.form == NUMBER) & (block.row >= 0)).tolist():
            try:
                block.value[i] = number(utf8(block.number(i)))
            except BadRecord as error:
                block.refuse(i, error)

    def _others(self, block: "Messages", catalog: Catalog) -> None:
        """Messages of another form."""
        for i in np.flatnonzero((block.row == MISSING) & (block.records.value_len > 0) & ~block.refused).tolist():
            try:
                m = read_json(_MESSAGE, block.message(i))
                block.time[i] = instant(m.timestamp) if isinstance(m.timestamp, str) else epoch(m.timestamp)
                block.value[i] = number(m.value) if isinstance(m.value, str) else real(m.value)
                series = describe(m.name, bytes(m.labels))
                row = catalog.row(key(series), lambda found=series: found)  # type: ignore[misc]
                block.row[i] = OVERFLOW if row == MISSING else row
            except BadRecord as error:
                block.refuse(i, error)

    def _decoded(self, block: "Messages", catalog: Catalog) -> Decoded:
        dead = sorted(block.dead, key=lambda d: d.offset)
        good = np.flatnonzero(block.row >= 0)
        n, record = good.size, good.astype(np.int32)
        held = good if n < block.row.size else slice(None)
        row = block.row[held]
        points = Points.empty(n)
        points.series, points.kind, points.writer = catalog.named(row)
        points.time, points.value, points.record = block.time[held], block.value[held], record
        return Decoded(points, dead, int(np.count_nonzero(block.row == OVERFLOW)) if n < block.row.size else 0)


class Messages:
    """The columns of one block of messages on their way to points."""

    def __init__(self, records: Records, seed: np.uint64) -> None:
        n = len(records)
        self.records, self.dead = records, list[DeadLetter]()
        self.row: NDArray[np.int32] = np.full(n, MISSING, np.int32)
        self.refused: NDArray[np.bool_] = np.zeros(n, np.bool_)
        self.key, self.form = np.zeros(n, np.uint64), np.zeros(n, np.uint8)
        self.time, self.value = np.zeros(n, np.int64), np.zeros(n, np.float64)
        self._number_at, self._number_len = np.zeros(n, np.int64), np.zeros(n, np.int32)
        columns = self.key, self.time, self.value, self._number_at, self._number_len, self.form
        scan(records.buffer, records.value_at, records.value_len, seed, *columns)

    def message(self, i: int) -> bytes:
        return self.records.value(i)

    def number(self, i: int) -> bytes:
        at = int(self._number_at[i])
        return self.records.buffer[at : at + int(self._number_len[i])].tobytes()

    def refuse(self, i: int, error: BadRecord) -> None:
        self.row[i], self.refused[i] = MISSING, True
        self.dead.append(self.records.dead(i, error))


def described(message: bytes) -> Description:
    """The series of a message that the scanner took."""
    m = read_json(_MESSAGE, message)
    return describe(m.name, bytes(m.labels))


def describe(metric: str, labels: bytes) -> Description:
    """The series of a message."""
    attributes = read_json(_LABELS, labels)
    attributes.pop("__name__", None)
    return Description(metric, unit_of(metric), attributes, kind_of(metric))


register("prometheus_json")(PrometheusJson)
