"""The shipped model specs: which series they take, written out for names that SDKs and exporters really send."""

import shutil
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pytest

from anomaly.config.load import load_specs, shipped_models
from anomaly.config.models import DEFAULT, Announces, Model, Signal, specs_for
from anomaly.config.settings import IdentitySettings
from anomaly.decode.identity import Identity, Series
from anomaly.decode.points import Kind

SPECS = load_specs()
IDENTITY = Identity(IdentitySettings())
G, C, H = Kind.GAUGE, Kind.COUNTER, Kind.HISTOGRAM
SERVED = {"errors", "latency", "traffic"}


def series(metric: str, kind: Kind, unit: str = "", **labels: str) -> Series:
    """A series of the shop's cart; in label names, `__` stands for a dot."""
    attributes = {k.replace("__", "."): v for k, v in labels.items()}
    return IDENTITY.series(metric, unit, {"service.name": "cart"} | attributes, kind)


def names(*args: str | Kind, **labels: str) -> set[str]:
    """The specs that judge it."""
    return {s.name for s in specs_for(series(*args, **labels), SPECS)}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("metric", "kind", "unit"),
    [("http.server.request.duration", H, "s"), ("http.server.request.duration", Kind.HISTOGRAM_DELTA, "s")],
)
def test_a_request_histogram_is_latency_traffic_and_errors_at_once(metric: str, kind: Kind, unit: str):
    assert names(metric, kind, unit, http__response__status_code="200") == SERVED


def test_older_and_other_servers_are_judged_the_same():
    in_ms = {"errors", "latency-ms", "traffic"}
    assert names("http.server.duration", H, "ms") == in_ms
    assert names("rpc.server.duration", H, "ms") == in_ms
    assert names("rpc.server.call.duration", H, "s") == SERVED


def test_a_classic_histogram_of_prometheus_counts_requests_once():
    """Of its three counters all are latency, and the count alone is traffic and errors."""
    for stem in ("http_server_request_duration_seconds", "http_request_duration_seconds", "http_server_requests_seconds"):
        assert names(f"{stem}_count", C, "s") == SERVED, stem
        assert names(f"{stem}_bucket", C, "s", le="0.5") == {"latency"}, stem
        assert names(f"{stem}_sum", C, "s") == {"latency"}, stem


@pytest.mark.parametrize("metric", ["http_requests_total", "grpc_server_handled_total", "traefik_service_requests_total"])
def test_a_request_counter_is_traffic_and_errors(metric: str):
    assert names(metric, C) == {"errors", "traffic"}


def test_of_the_spans_only_the_side_that_served_is_the_services_own_and_each_operation_is_judged_for_itself():
    assert names("traces.span.metrics.calls", C, span__kind="SPAN_KIND_SERVER") == {"operation-errors", "traffic"}
    assert names("traces.span.metrics.duration", H, "ms", span__kind="SPAN_KIND_SERVER") == {"operation-latency-ms"}
    assert names("traces.span.metrics.duration", H, "s", span__kind="SPAN_KIND_CONSUMER") == {"operation-latency"}
    assert names("traces.span.metrics.calls", C, span__kind="SPAN_KIND_CLIENT") == {"call-errors"}
    assert names("traces.span.metrics.duration", H, "ms", span__kind="SPAN_KIND_CLIENT") == {"calls-ms"}
    assert names("traces.service.graph.request", C) == {"call-errors"}
    assert names("traces.service.graph.request.between", H, "s") == {"calls"}


def test_durations_of_calls_and_jobs_are_evidence_and_no_page():
    assert names("http.client.request.duration", H, "s") == {"calls"}
    assert names("db.client.operation.duration", H, "s") == {"calls"}
    assert names("job_duration_seconds_sum", C, "s") == {"calls"}
    assert not next(s for s in SPECS if s.name == "calls").pages


@pytest.mark.parametrize(
    ("metric", "kind", "unit", "labels", "spec"),
    [
        ("system.cpu.utilization", G, "1", {"state": "user"}, "saturation"),
        ("system.memory.usage", G, "By", {"state": "used"}, "saturation-bytes"),
        ("process_resident_memory_bytes", G, "By", {}, "saturation-bytes"),
        ("process_open_fds", G, "", {}, "saturation-count"),
        ("http.server.active_requests", G, "{request}", {}, "saturation-count"),
        ("shop.queue.depth", G, "", {}, "saturation-count"),
        ("disk_used_percent", G, "%", {}, "saturation-percent"),
        ("system.network.errors", C, "errors", {}, "failures"),
        ("up", G, "", {}, "up"),
        ("shop.requests", C, "{request}", {}, "traffic"),
        ("room.temperature", G, "Cel", {}, DEFAULT),
        ("ec2_network_in", G, "", {}, DEFAULT),
        ("system.disk.io", C, "By", {}, DEFAULT),
    ],
)
def test_a_series_is_judged_as_its_kind_of_signal(metric: str, kind: Kind, unit: str, labels: dict[str, str], spec: str):
    assert names(metric, kind, unit, **labels) == {spec}


@pytest.mark.parametrize(
    ("metric", "labels"),
    [
        ("target_info", {}), ("go_gc_duration_seconds", {}), ("cpython.gc.collections", {}), ("kube_pod_labels", {}),
        ("process_start_time_seconds", {}), ("http_requests_created", {}), ("kube_pod_container_resource_limits", {}),
        ("jvm_memory_max_bytes", {}), ("scrape_duration_seconds", {}), ("otelcol_exporter_sent_metric_points", {}),
        ("process.runtime.cpython.gc_count", {}), ("backup_last_success_timestamp_seconds", {}), ("anomaly_series", {}),
        ("system.cpu.utilization", {"state": "idle"}), ("node_cpu_seconds_total", {"mode": "idle"}),
        ("system.memory.usage", {"state": "cached"}),
    ],
)  # fmt: skip
def test_what_is_no_signal_is_left_alone(metric: str, labels: dict[str, str]):
    assert names(metric, G, **labels) == {"ignore"}


# What SDKs, proxies and exporters send, by the names in their documentation: kind, unit, labels -> the specs that judge it.
CONVENTIONS: dict[str, list[tuple[str, Kind, str, dict[str, str], set[str]]]] = {
    "OpenTelemetry": [
        ("http.server.request.duration", H, "s", {}, SERVED),
        ("http.server.active_requests", G, "{request}", {}, {"saturation-count"}),
        ("http.client.request.duration", H, "s", {}, {"calls"}),
        ("rpc.server.duration", H, "ms", {}, {"errors", "latency-ms", "traffic"}),
        ("rpc.server.call.duration", H, "s", {}, SERVED),
        ("rpc.client.call.duration", H, "s", {}, {"calls"}),
        ("db.client.operation.duration", H, "s", {}, {"calls"}),
        ("db.client.connection.count", G, "{connection}", {"state": "used"}, {"saturation-count"}),
        ("db.client.connection.pending_requests", G, "{request}", {}, {"saturation-count"}),
        ("db.client.connection.timeouts", C, "{timeout}", {}, {"failures"}),
        ("messaging.process.duration", H, "s", {}, {"calls"}),
        ("messaging.client.operation.duration", H, "s", {}, {"calls"}),
        ("messaging.client.consumed.messages", C, "{message}", {}, {"traffic"}),
        ("process.cpu.utilization", G, "1", {}, {"saturation"}),
        ("system.cpu.time", C, "s", {"state": "user"}, {"saturation-cores"}),
        ("jvm.memory.used", G, "By", {}, {"saturation-bytes"}),
        ("container.cpu.usage", G, "{cpu}", {}, {"saturation-cores"}),
        ("k8s.pod.memory.working_set", G, "By", {}, {"saturation-bytes"}),
        ("k8s.pod.memory.available", G, "By", {}, {"saturation-left"}),
        ("k8s.node.condition_ready", G, "", {}, {"up"}),
        ("k8s.pod.phase", G, "", {}, {"ignore"}),
    ],
    "Prometheus client": [
        ("http_request_duration_seconds_bucket", C, "s", {"le": "1"}, {"latency"}),
        ("http_request_duration_seconds_count", C, "s", {"code": "200"}, SERVED),
        ("http_requests_total", C, "", {"code": "200"}, {"errors", "traffic"}),
        ("grpc_server_handled_total", C, "", {"grpc_code": "OK"}, {"errors", "traffic"}),
        ("grpc_server_handling_seconds_bucket", C, "s", {"le": "1"}, {"latency"}),
        ("process_cpu_seconds_total", C, "s", {}, {"saturation-cores"}),
        ("process_open_fds", G, "", {}, {"saturation-count"}),
        ("process_max_fds", G, "", {}, {"ignore"}),
    ],
    "Envoy": [
        ("envoy_http_downstream_rq_xx", C, "", {"envoy_response_code_class": "5"}, {"errors-envoy", "traffic"}),
        ("envoy_http_downstream_rq_time_bucket", C, "", {"le": "5"}, {"latency-ms"}),
        ("envoy_http_downstream_rq_active", G, "", {}, {"saturation-count"}),
        ("envoy_cluster_upstream_rq_xx", C, "", {"envoy_response_code_class": "5"}, {"call-errors-envoy"}),
        ("envoy_cluster_upstream_rq_time_sum", C, "", {}, {"calls-ms"}),
        ("envoy_cluster_upstream_rq_timeout", C, "", {}, {"failures"}),
        ("envoy_cluster_upstream_rq_pending_overflow", C, "", {}, {"failures"}),
        ("envoy_cluster_membership_healthy", G, "", {}, {"up"}),
    ],
    "Istio": [
        ("istio_requests_total", C, "", {"reporter": "destination", "response_code": "200"}, {"errors", "traffic"}),
        ("istio_requests_total", C, "", {"reporter": "source", "response_code": "200"}, {"call-errors", "traffic-of-calls"}),
        ("istio_request_duration_milliseconds_bucket", C, "ms", {"reporter": "destination", "le": "5"}, {"latency-ms"}),
        ("istio_request_duration_milliseconds_bucket", C, "ms", {"reporter": "source", "le": "5"}, {"calls-ms"}),
    ],
    "NGINX": [
        ("nginx_http_requests_total", C, "", {}, {"traffic"}),
        ("nginx_connections_active", G, "", {}, {"saturation-count"}),
        ("nginx_up", G, "", {}, {"up"}),
        ("nginx_ingress_controller_requests", C, "", {"status": "200"}, {"errors", "traffic"}),
        ("nginx_ingress_controller_request_duration_seconds_bucket", C, "s", {"le": "1"}, {"latency"}),
        ("nginx_ingress_controller_response_duration_seconds_bucket", C, "s", {"le": "1"}, {"calls"}),
    ],
    "kube-state-metrics": [
        ("kube_deployment_status_replicas_unavailable", G, "", {}, {"unavailable"}),
        ("kube_daemonset_status_number_unavailable", G, "", {}, {"unavailable"}),
        ("kube_job_status_failed", G, "", {}, {"unavailable"}),
        ("kube_pod_container_status_restarts_total", C, "", {}, {"restarts"}),
        ("kube_node_status_condition", G, "", {"condition": "Ready", "status": "true"}, {"up"}),
        ("kube_deployment_spec_replicas", G, "", {}, {"ignore"}),
        ("kube_pod_container_resource_requests", G, "", {}, {"ignore"}),
        ("kube_pod_info", G, "", {}, {"ignore"}),
        ("kube_pod_status_phase", G, "", {}, {"ignore"}),
    ],
    "node exporter": [
        ("node_cpu_seconds_total", C, "s", {"mode": "user"}, {"saturation-cores"}),
        ("node_cpu_seconds_total", C, "s", {"mode": "idle"}, {"ignore"}),
        ("node_load1", G, "", {}, {"saturation-cores"}),
        ("node_load15", G, "", {}, {"ignore"}),
        ("node_memory_MemAvailable_bytes", G, "By", {}, {"saturation-left"}),
        ("node_memory_MemTotal_bytes", G, "By", {}, {"ignore"}),
        ("node_memory_Mapped_bytes", G, "By", {}, {"ignore"}),
        ("node_memory_Active_bytes", G, "By", {}, {"ignore"}),
        ("node_filesystem_avail_bytes", G, "By", {}, {"saturation-left"}),
        ("node_filesystem_size_bytes", G, "By", {}, {"ignore"}),
        ("node_disk_io_time_seconds_total", C, "s", {}, {"saturation"}),
        ("node_pressure_cpu_waiting_seconds_total", C, "s", {}, {"saturation"}),
        ("node_network_receive_errs_total", C, "", {}, {"failures"}),
        ("node_network_receive_drop_total", C, "", {}, {"failures"}),
        ("node_nf_conntrack_entries", G, "", {}, {"saturation-count"}),
    ],
    "Kafka": [  # exporter, kminion, JMX
        ("kafka_consumergroup_lag", G, "", {}, {"saturation-count"}),
        ("kafka_consumergroup_lag_sum", G, "", {}, {"saturation-count"}),
        ("kminion_kafka_consumer_group_topic_lag", G, "", {}, {"saturation-count"}),
        ("kafka_consumergroup_current_offset", G, "", {}, {"ignore"}),
        ("kafka_topic_partition_under_replicated_partition", G, "", {}, {"unavailable"}),
        ("kafka_brokers", G, "", {}, {"up"}),
        ("kafka_server_replicamanager_underreplicatedpartitions", G, "", {}, {"unavailable"}),
        ("kafka_controller_kafkacontroller_offlinepartitionscount", G, "", {}, {"unavailable"}),
        ("kafka_server_brokertopicmetrics_messagesin_total", C, "", {}, {"traffic"}),
        ("kafka_server_brokertopicmetrics_failedproducerequests_total", C, "", {}, {"failures"}),
    ],
}


@pytest.mark.parametrize("family", CONVENTIONS)
def test_well_known_metrics_are_golden_signals_without_configuration(family: str):
    found = {}
    for metric, kind, unit, labels, _ in CONVENTIONS[family]:
        held = {k.replace(".", "__"): v for k, v in labels.items()}
        found[metric, *labels.items()] = names(metric, kind, unit, **held)
    assert found == {(metric, *labels.items()): specs for metric, _, _, labels, specs in CONVENTIONS[family]}


def test_what_users_feel_pages_and_is_of_the_whole_group_and_calls_to_others_are_evidence():
    by_name = {s.name: s for s in SPECS}
    felt = ("errors", "errors-envoy", "latency", "latency-ms", "traffic")
    assert {(by_name[n].pages, by_name[n].sum.value) for n in felt} == {(True, "group")}
    evidence = ("calls", "calls-ms", "call-errors", "call-errors-envoy", "traffic-of-calls", "unavailable", "restarts", "up")
    assert not any(by_name[n].pages for n in evidence)


def test_the_classes_of_envoy_are_not_taken_for_codes_of_grpc():
    envoy = next(s for s in SPECS if s.name == "errors-envoy").errors
    assert envoy is not None
    assert [c for c in "12345" if any(fnmatchcase(c, p) for p in envoy.value)] == ["5"]


@pytest.mark.parametrize("status", ["500", "503", "5xx", "STATUS_CODE_ERROR", "Unavailable", "14", "INTERNAL"])
def test_a_fault_of_the_server_is_an_error(status: str):
    errors = next(s for s in SPECS if s.name == "errors").errors
    assert errors is not None
    assert any(fnmatchcase(status, pattern) for pattern in errors.value)


@pytest.mark.parametrize(
    "status", ["200", "404", "429", "2xx", "STATUS_CODE_OK", "STATUS_CODE_UNSET", "NotFound", "5", "0", "OK"]
)
def test_what_the_client_did_is_no_error(status: str):
    """gRPC's 5 is NOT_FOUND, HTTP's 429 and 404 are answers."""
    errors = next(s for s in SPECS if s.name == "errors").errors
    assert errors is not None
    assert not any(fnmatchcase(status, pattern) for pattern in errors.value)


def test_only_service_level_signals_page():
    assert {s.signal for s in SPECS if s.pages} == {Signal.ERRORS, Signal.LATENCY, Signal.TRAFFIC}
    assert not any(s.members for s in SPECS if s.pages)
    assert {s.name for s in SPECS if s.pages and s.sum != "group"} == {
        "operation-errors", "operation-latency", "operation-latency-ms"
    }  # fmt: skip


def test_a_fault_of_a_service_can_be_found_within_fifteen_seconds():
    """The shortest grid is 5 s: a fault fills one cell of it within 10 s, and two within 15."""
    allowed = {"errors": 5.0, "latency": 10.0, "latency-ms": 10.0}
    assert all(s.min_duration <= allowed.get(s.name, np.inf) for s in SPECS)


def test_there_is_one_default_and_it_has_no_opinion():
    (default,) = (s for s in SPECS if s.name == DEFAULT)
    assert default.model is Model.ADAPTIVE
    assert (default.min_deviation, default.min_relative, default.pages) == (0.0, 0.0, False)
    assert default.announces is Announces.SHARED
    assert {s.name for s in SPECS if s.announces is not Announces.ALL} == {DEFAULT, "quantiles"}


def test_own_specs_come_first_even_before_what_is_ignored(tmp_path: Path):
    (tmp_path / "mine.yaml").write_text("specs:\n  - {name: cap, signal: saturation, match: [{metric: [pool_max]}]}\n")
    specs = load_specs([tmp_path])
    assert [s.name for s in specs][:2] == ["cap", "ignore"]
    assert [s.name for s in specs_for(series("pool_max", G), specs)] == ["cap"]
    assert [s.name for s in specs_for(series("heap_max", G), specs)] == ["ignore"]


def test_an_own_spec_takes_the_place_of_a_shipped_one_of_its_name(tmp_path: Path):
    (tmp_path / "mine.yaml").write_text("specs:\n  - {name: up, match: [{metric: [up]}], min_duration: 5m}\n")
    specs = load_specs([tmp_path / "mine.yaml"])
    assert [s.min_duration for s in specs if s.name == "up"] == [300.0]
    assert len(specs) == len(SPECS)


def test_what_an_own_file_ignores_comes_before_what_it_judges(tmp_path: Path):
    judged = "{name: mine, match: [{metric: ['a.*']}]}"
    (tmp_path / "mine.yaml").write_text(
        f"specs:\n  - {judged}\n  - {{name: noise, model: ignore, match: [{{metric: [a.b]}}]}}\n"
    )
    specs = load_specs([tmp_path])
    assert [s.name for s in specs_for(series("a.b", G), specs)] == ["noise"]
    assert [s.name for s in specs_for(series("a.c", G), specs)] == ["mine"]


def test_specs_of_several_files_are_read_in_the_order_of_their_names_and_nothing_else_is(tmp_path: Path):
    shutil.copytree(shipped_models(), tmp_path, dirs_exist_ok=True)
    (tmp_path / "README.md").write_text("no spec")
    assert [s.name for s in load_specs([tmp_path])] == [s.name for s in SPECS]


def test_synthetic_checks_are_judged_once_whoever_made_them():
    assert names("probe_success", G, instance="shop") == {"probes"}
    assert names("probe_duration_seconds", G) == {"probe-latency"}
    assert names("httpcheck.duration", G, "ms") == {"probe-latency-ms"}
    assert names("httpcheck.status", G, "1", http__status_class="5xx") == {"probe-failures"}
    assert names("probe_ssl_earliest_cert_expiry", G) == {"probe-certificate-end"}
