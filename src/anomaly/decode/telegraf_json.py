"""Telegraf's JSON: one metric with several fields a message, or `{"metrics": [...]}` of them.

    {"name": "cpu", "tags": {"host": "a"}, "fields": {"usage_idle": 91.5}, "timestamp": 1767225600}

A field is the series `name_field` with the tags as attributes; booleans are 0 and 1, text and null are left out. The unit of
the time is not on the wire (Telegraf's default is seconds) and is told by its size, see `text.epoch`.

The usual message, one measurement, is scanned (`telegraf_scan`), a series found by the bytes of name, tags and field; the
complete decoder describes it at first sight, and reads batches and every message of another form.
"""

from collections.abc import Iterator

import numpy as np
from msgspec import Struct
from msgspec.json import Decoder

from anomaly.decode.catalog import Catalog, Description
from anomaly.decode.encodings import Decoded, Parsed, Sample, behind, register
from anomaly.decode.index import MISSING
from anomaly.decode.json_scan import REFUSED, SCANNED
from anomaly.decode.known import OVERFLOW, Known
from anomaly.decode.naming import kind_of, unit_of
from anomaly.decode.points import Points
from anomaly.decode.records import BadRecord, Records
from anomaly.decode.telegraf_scan import FULL, scan
from anomaly.decode.text import epoch, instant, read_json, real


class Metric(Struct):
    """One measurement."""

    name: str = ""
    tags: dict[str, str] = {}
    fields: dict[str, bool | int | float | str | None] = {}
    timestamp: int | float | str | None = None


class Message(Metric):
    """One measurement or a batch of them."""

    metrics: list[Metric] | None = None


_MESSAGE, _NAME = Decoder(Message), Decoder(str)

# Bytes of a message for each of its fields: usually, and at least.
USUAL_FIELD, LEAST_FIELD = 24, 5


def parse(value: bytes) -> Iterator[Sample]:
    """The points of one message."""
    message = read_json(_MESSAGE, value)
    for metric in [message] if message.metrics is None else message.metrics:
        yield from _samples(metric)


def _samples(metric: Metric) -> Iterator[Sample]:
    if not metric.name:
        raise BadRecord("no_name")
    if metric.timestamp is None:
        raise BadRecord("no_timestamp")
    time = instant(metric.timestamp) if isinstance(metric.timestamp, str) else epoch(metric.timestamp)
    for field, value in metric.fields.items():
        if value is not None and not isinstance(value, str):
            yield Sample(series_of(metric.name, field, metric.tags), time, real(value))


def series_of(measurement: str, field: str, tags: dict[str, str]) -> Description:
    """The series of a field, named as Telegraf itself names it for Prometheus."""
    metric = f"{measurement}_{field}"
    return Description(metric, unit_of(metric), tags, kind_of(metric))


class TelegrafJson:
    """Decodes blocks of messages."""

    def __init__(self) -> None:
        self._known, self._complete = Known("telegraf_json"), Parsed(parse)

    def decode(self, records: Records, catalog: Catalog) -> Decoded:
        """Decode a block; arrival order is kept."""
        scanned = Fields(records, self._known.seed(catalog))
        rows = self._known.rows(scanned.key, catalog, scanned.describe)
        scanned.form[scanned.record[rows == MISSING]] = REFUSED  # no UTF-8, or what only looked like labels
        left = scanned.form != SCANNED
        held = np.flatnonzero((rows >= 0) & ~left[scanned.record])
        overflow = int(np.count_nonzero((rows == OVERFLOW) & ~left[scanned.record]))
        row = rows[held]
        points = Points.empty(held.size)
        points.series, points.kind, points.writer = catalog.named(row)
        points.time, points.value, points.record = scanned.time[held], scanned.value[held], scanned.record[held]
        decoded = Decoded(points, [], overflow)
        left &= records.value_len > 0
        return behind(self._complete, records, np.flatnonzero(left), catalog, decoded) if left.any() else decoded


class Fields:
    """The columns of a block as `telegraf_scan` has them."""

    def __init__(self, records: Records, seed: np.uint64) -> None:
        self.records, self.form = records, np.zeros(len(records), np.uint8)
        held = int(np.maximum(records.value_len, 0).sum())
        for least in (USUAL_FIELD, LEAST_FIELD):
            room = held // least + 1
            key, value, record = np.empty(room, np.uint64), np.empty(room), np.empty(room, np.int32)
            time, begin, past = (np.empty(room, np.int64) for _ in range(3))
            columns = key, time, value, record, begin, past
            n = scan(records.buffer, records.value_at, records.value_len, seed, self.form, *columns)
            if n != FULL:
                break
        self.key, self.time, self.value, self.record = key[:n], time[:n], value[:n], record[:n]
        self._begin, self._past = begin, past

    def describe(self, i: int) -> Description:
        """The series of point `i`, its message read wholly."""
        message = read_json(_MESSAGE, self.records.value(int(self.record[i])))
        field = self.records.buffer[int(self._begin[i]) - 1 : int(self._past[i]) + 1].tobytes()  # with its quotes
        return series_of(message.name, read_json(_NAME, field), message.tags)


register("telegraf_json")(TelegrafJson)
