"""Results as an OTLP request of metrics, under the names of the blackbox exporter, so that one spec judges both."""

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from anomaly.config.probes import Check, Probes
from anomaly.probe.result import Result

SUCCESS, DURATION = "probe_success", "probe_duration_seconds"
UNITS = {DURATION: "s"}


def request(probes: Probes, check: Check, result: Result) -> bytes:
    """In protobuf."""
    made = ExportMetricsServiceRequest()
    one = made.resource_metrics.add()
    who = {"service.name": check.service, "deployment.environment.name": probes.environment}
    for key, text in who.items():
        if text:
            one.resource.attributes.add(key=key).value.string_value = text
    metrics = one.scope_metrics.add().metrics
    values = {SUCCESS: float(not result.why), DURATION: result.seconds} | result.facts
    for name, value in values.items():
        point = metrics.add(name=name, unit=UNITS.get(name, "")).gauge.data_points.add(
            time_unix_nano=result.time * 1_000_000, as_double=value
        )
        for key, text in {"probe": check.name, "kind": check.kind, "region": probes.region}.items():
            if text:
                point.attributes.add(key=key).value.string_value = text
    data: bytes = made.SerializeToString()
    return data
