"""The complete decoder of one series of a remote write request: labels, samples, native histograms; and what kind it is."""

from typing import Any

import numpy as np

from anomaly.decode.catalog import Description
from anomaly.decode.encodings import Sample
from anomaly.decode.naming import kind_of, stem, unit_of
from anomaly.decode.points import Flag, Kind
from anomaly.decode.prometheus_messages import Histogram, Metadata, TimeSeries, WriteRequest, message
from anomaly.decode.prometheus_native import buckets, observations
from anomaly.decode.records import BadRecord

STALE = np.uint64(0x7FF0000000000002)
MAX_COUNT = 1 << 18  # series in one request; Prometheus sends a few thousand
MAX_SERIES, MAX_LABELS = 1 << 20, 1 << 16  # bytes of one series with its samples, and of its labels

# MetricMetadata.MetricType. In families of histogram and summary only the sums and counts are counters.
_GAUGES, _COUNTER, _FAMILIES = (2, 4, 7, 8), 1, (3, 5)


def read(body: bytes) -> Any:
    """The message of a request; its series and metadata stay bytes."""
    request = message(WriteRequest, body)
    if max(len(request.timeseries), len(request.metadata)) > MAX_COUNT:
        raise BadRecord("too_large", f"{len(request.timeseries)} series, over {MAX_COUNT}")
    if body and not request.timeseries and not request.metadata:
        raise BadRecord("not_remote_write", "neither series nor metadata of version 1.0")
    return request


def types_of(request: Any) -> dict[str, int]:
    """The type of each family of metrics that a request tells."""
    return {m.metric_family_name: m.type for m in (message(Metadata, raw) for raw in request.metadata if raw)}


def samples(raw: bytes, types: dict[str, int]) -> list[Sample]:
    """The points of a series: its samples, then its histograms."""
    if len(raw) > MAX_SERIES:
        raise BadRecord("too_large", f"a series of {len(raw)} bytes")
    series = message(TimeSeries, raw)
    labels = TimeSeries(labels=series.labels).SerializeToString()
    if len(labels) > MAX_LABELS:
        raise BadRecord("too_large", f"labels of {len(labels)} bytes")
    if not series.samples and not series.histograms:
        return []
    described = describe(labels)
    described = described._replace(kind=kind(described.metric, types))
    found = [Sample(described, s.timestamp, s.value, flags=_flag(s.value)) for s in series.samples]
    return found + [_histogram(message(Histogram, each), described) for each in series.histograms]


def _histogram(found: Any, described: Description) -> Sample:
    bounds, counts = buckets(found)
    series = described._replace(kind=Kind.HISTOGRAM, bounds=bounds)
    return Sample(series, found.timestamp, found.sum, 0, observations(found), counts, _flag(found.sum))


def _flag(value: float) -> Flag:
    return Flag.STALE if np.float64(value).view(np.uint64) == STALE else Flag.NONE


def describe(labels: bytes) -> Description:
    """The series of the bytes of its labels, its kind by its name. An empty value is no label, as in Prometheus."""
    if len(labels) > MAX_LABELS:
        raise BadRecord("too_large", f"labels of {len(labels)} bytes")
    given = message(TimeSeries, labels).labels
    attributes = {label.name: label.value for label in given}
    if len(attributes) != len(given):
        raise BadRecord("duplicate_label")
    metric = attributes.pop("__name__", "")
    if not metric:
        raise BadRecord("no_name")
    return Description(metric, unit_of(metric), {k: v for k, v in attributes.items() if v}, kind_of(metric))


def kind(metric: str, types: dict[str, int]) -> Kind:
    """By the type of the metric's family where it is told, else by the name."""
    family = types.get(metric) or types.get(stem(metric), 0)
    if family == _COUNTER:
        return Kind.COUNTER
    return Kind.GAUGE if family in _GAUGES or (family in _FAMILIES and stem(metric) == metric) else kind_of(metric)
