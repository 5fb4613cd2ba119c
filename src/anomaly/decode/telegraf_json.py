"""Telegraf's JSON: one metric with several fields a message, or `{"metrics": [...]}` of them.

    {"name": "cpu", "tags": {"host": "a"}, "fields": {"usage_idle": 91.5}, "timestamp": 1767225600}

A field is the series `name_field` with the tags as attributes; booleans are 0 and 1, text and null are left out. The unit of
the time is not on the wire (Telegraf's default is seconds) and is told by its size, see `text.epoch`.
"""

from collections.abc import Iterator

from msgspec import Struct
from msgspec.json import Decoder

from anomaly.decode.catalog import Description
from anomaly.decode.encodings import Parsed, Sample, register
from anomaly.decode.naming import kind_of, unit_of
from anomaly.decode.records import BadRecord
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


_MESSAGE = Decoder(Message)


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


register("telegraf_json")(lambda: Parsed(parse))
