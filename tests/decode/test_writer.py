"""Two senders of one series are told apart, in every encoding that may bring them."""

from collections.abc import Callable

import cramjam
import orjson
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from anomaly.config.settings import Settings, SourceSettings
from anomaly.decode.prometheus_messages import TimeSeries, WriteRequest
from anomaly.decode.records import Records
from anomaly.decode.stage import Decode

NOW = 1_767_225_600_000


def as_prometheus_json(labels: dict[str, str]) -> bytes:
    return orjson.dumps({"timestamp": "2026-01-01T00:00:00Z", "value": "1", "name": "up", "labels": labels})


def as_telegraf_json(labels: dict[str, str]) -> bytes:
    return orjson.dumps({"name": "up", "tags": labels, "fields": {"value": 1.0}, "timestamp": NOW // 1000})


def as_remote_write(labels: dict[str, str]) -> bytes:
    pairs = [{"name": k, "value": v} for k, v in sorted({"__name__": "up", **labels}.items())]
    series = TimeSeries(labels=pairs, samples=[{"value": 1.0, "timestamp": NOW}])
    request = WriteRequest(timeseries=[series.SerializeToString()])
    return bytes(cramjam.snappy.compress_raw(request.SerializeToString()))


def as_otlp(labels: dict[str, str]) -> bytes:
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    for key, value in labels.items():
        resource.resource.attributes.add(key=key).value.string_value = value
    resource.scope_metrics.add().metrics.add(name="up").gauge.data_points.add(time_unix_nano=NOW * 10**6, as_double=1.0)
    return bytes(request.SerializeToString())


def as_influx(labels: dict[str, str]) -> bytes:
    return f"up,{','.join(f'{k}={v}' for k, v in labels.items())} value=1 {NOW * 10**6}".encode()


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        ("prometheus_json", as_prometheus_json),
        ("telegraf_json", as_telegraf_json),
        ("prometheus_remote_write", as_remote_write),
        ("otlp_proto", as_otlp),
        ("influx", as_influx),
    ],
)
def test_a_point_says_which_of_its_series_senders_wrote_it(encoding: str, written: Callable[[dict[str, str]], bytes]):
    """One series, three writers: one without a name, and two replicas, each always by the same number."""
    senders = [{}, {"prometheus_replica": "a"}, {"prometheus_replica": "b"}, {"prometheus_replica": "a"}]
    records = Records.of([written({"job": "shop"} | who) for who in senders], "t", 0, 0, NOW)
    ((_, block),), dead = Decode(Settings(), 1).blocks(SourceSettings(topic="t", encoding=encoding), records)
    nobody, a, b, again = block.points.writer.tolist()
    assert dead == []
    assert len(set(block.points.series.tolist())) == 1
    assert (nobody, len({0, a, b}), again) == (0, 3, a)
