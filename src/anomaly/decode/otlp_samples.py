"""The complete decoder of OTLP metrics: every kind of metric of a parsed request as samples, plain and slow.

A histogram without a sum has the value NaN: its mean is not known, its rate and its quantiles are. An integer past 2**53
is rounded to a float64. A summary becomes a histogram without buckets, and a gauge with the label `quantile` for each of
its quantiles, under the same name. A number without a value is NaN.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from anomaly.decode.catalog import Description
from anomaly.decode.encodings import Sample
from anomaly.decode.exponential import canonical
from anomaly.decode.otlp_attributes import attributes
from anomaly.decode.otlp_columns import LEAST_POINT, MOST_BUCKETS
from anomaly.decode.points import Flag, Kind
from anomaly.decode.records import BadRecord

NANOSECONDS = 1_000_000  # in a millisecond
NO_RECORDED_VALUE = 1  # DataPointFlags
DELTA = 1  # AggregationTemporality; 0 is not given and 2 cumulative


class Source(NamedTuple):
    """What the points of a metric share."""

    metric: Any
    held: Mapping[str, str]  # attributes of resource and scope

    def series(self, point: Any, kind: Kind, bounds: tuple[float, ...] = (), **more: str) -> Description:
        """The series of a point; an attribute of the point hides one of the same name further out."""
        found = {**self.held, **attributes(point.attributes), **more}
        return Description(self.metric.name, self.metric.unit, found, kind, bounds)


FLOODED = "malformed", "more points than its bytes can hold times for"


def samples(request: Any, size: int) -> Iterator[Sample]:
    """The points of an ExportMetricsServiceRequest of `size` bytes, in order; BadRecord where one cannot be meant."""
    points = buckets = 0
    for resource_metrics in request.resource_metrics:
        for scope_metrics in resource_metrics.scope_metrics:
            held = around(attributes(resource_metrics.resource.attributes), scope_metrics.scope)
            for metric in scope_metrics.metrics:
                kind = metric.WhichOneof("data")
                for sample in KINDS[kind](Source(metric, held), getattr(metric, kind)) if kind else ():
                    points, buckets = points + 1, buckets + len(sample.buckets)
                    if points > size // LEAST_POINT:
                        raise BadRecord(*FLOODED)
                    if buckets > MOST_BUCKETS:
                        raise BadRecord("too_large", f"over {MOST_BUCKETS} bucket counts")
                    yield sample


def around(resource: dict[str, str], scope: Any) -> dict[str, str]:
    """Attributes of a resource and of a scope within it, with the scope's name and version as OpenTelemetry names them."""
    named = {"otel.scope.name": scope.name, "otel.scope.version": scope.version}
    return {**resource, **attributes(scope.attributes), **{k: v for k, v in named.items() if v}}


def bounds_of(bounds: Sequence[float]) -> tuple[float, ...]:
    """Upper bounds of buckets, checked: finite and rising."""
    if not all(map(math.isfinite, bounds)) or any(a >= b for a, b in pairwise(bounds)):
        raise BadRecord("malformed", "histogram bounds must rise and be finite")
    return tuple(bounds)


def _gauge(source: Source, gauge: Any) -> Iterator[Sample]:
    return (_number(source, point, Kind.GAUGE) for point in gauge.data_points)


def _sum(source: Source, total: Any) -> Iterator[Sample]:
    cumulative = Kind.COUNTER if total.is_monotonic else Kind.GAUGE
    kind = Kind.DELTA if _is_delta(total) else cumulative
    return (_number(source, point, kind) for point in total.data_points)


def _number(source: Source, point: Any, kind: Kind) -> Sample:
    given = point.WhichOneof("value")
    value = float(getattr(point, given)) if given else math.nan
    return Sample(source.series(point, kind), *_time(point, value), flags=_flags(point))


def _histogram(source: Source, histogram: Any) -> Iterator[Sample]:
    kind = Kind.HISTOGRAM_DELTA if _is_delta(histogram) else Kind.HISTOGRAM
    for point in histogram.data_points:
        counts, bounds = point.bucket_counts, point.explicit_bounds
        if len(counts) != len(bounds) + 1 and (counts or bounds):
            raise BadRecord("malformed", f"{len(counts)} bucket counts for {len(bounds)} bounds")
        series = source.series(point, kind, bounds_of(bounds))
        yield _distribution(point, series, tuple(map(float, counts)))


def _exponential(source: Source, histogram: Any) -> Iterator[Sample]:
    kind = Kind.HISTOGRAM_DELTA if _is_delta(histogram) else Kind.HISTOGRAM
    for point in histogram.data_points:
        bounds, counts = canonical(point)
        yield _distribution(point, source.series(point, kind, bounds), counts)


def _distribution(point: Any, series: Description, counts: tuple[float, ...]) -> Sample:
    total = point.sum if point.HasField("sum") else math.nan
    return Sample(series, *_time(point, total), float(point.count), counts, _flags(point))


def _summary(source: Source, summary: Any) -> Iterator[Sample]:
    for point in summary.data_points:
        series = source.series(point, Kind.HISTOGRAM)
        yield Sample(series, *_time(point, point.sum), float(point.count), (), _flags(point))
        for at in point.quantile_values:
            series = source.series(point, Kind.GAUGE, quantile=quantile_of(at.quantile))
            yield Sample(series, *_time(point, at.value), flags=_flags(point))


KINDS: dict[str, Callable[[Source, Any], Iterator[Sample]]] = {
    "gauge": _gauge, "sum": _sum, "histogram": _histogram, "exponential_histogram": _exponential, "summary": _summary,
}  # fmt: skip


def quantile_of(number: float) -> str:
    """A quantile as a label: 0.99, 1."""
    return repr(number).removesuffix(".0")


def _is_delta(data: Any) -> bool:
    if data.aggregation_temporality not in (0, 1, 2):
        raise BadRecord("malformed", f"aggregation temporality {data.aggregation_temporality}")
    return bool(data.aggregation_temporality == DELTA)


def _time(point: Any, value: float) -> tuple[int, float, int]:
    """Time, value and start, as a Sample has them."""
    return point.time_unix_nano // NANOSECONDS, value, point.start_time_unix_nano // NANOSECONDS


def _flags(point: Any) -> Flag:
    return Flag.STALE if point.flags & NO_RECORDED_VALUE else Flag.NONE
