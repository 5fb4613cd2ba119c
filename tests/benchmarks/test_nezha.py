"""How the Nezha slice is read, sent and scored, by timelines and files made by hand."""

import gzip
import json
import lzma
import math

import pytest
from benchmarks.nezha import both, pairs
from benchmarks.nezha_read import Fault, LogRow, MetricRow, Row, SpanRow, faults, ignored, logs, metrics, spans
from benchmarks.nezha_score import REGISTRY, Answer, Told, apart, false, judged, of_registry, summed, told
from benchmarks.nezha_wire import LOGS, METRICS, SPANS, STEP, named, records
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from anomaly.dispatch.alert import Alert, Severity, What
from anomaly.host.labelled import ms

ONSET = ms("2023-01-29T09:00:00Z")
FAULT = Fault(ONSET, "shop", "return", "shop-5-x", "Cart#31_Cart#34")
SECOND = 1_000_000_000


def tell(seconds: float, incident: str, *services: str, text: str = "", over: bool = False, registry: bool = False) -> Told:
    """An alert so many seconds after the onset, with these causes."""
    return Told(ONSET + round(seconds * 1000), incident, over, tuple(Answer(s, text) for s in services), registry)


def test_a_fault_is_found_and_named_within_its_window_with_both_ends():
    for at, inside in ((-120.001, False), (-120, True), (240, True), (240.001, False)):
        score = judged(FAULT, [tell(at, "a", "shop")])
        assert (score.found == at, score.named == at) == (inside, inside), at


def test_the_delay_is_that_of_the_name_and_an_update_may_bring_it():
    score = judged(FAULT, [tell(20, "a", "cart", "shop"), tell(50, "a", "shop", "cart")])
    assert (score.found, score.named, score.incidents, score.rank, score.first) == (20, 50, 1, 1, False)


def test_the_answer_is_the_last_one_by_the_windows_end():
    """A rank is counted among services, however many causes each has; what comes too late changes nothing."""
    timeline = [tell(10, "a", "shop"), tell(100, "b", "cart", "cart", "pay", "shop"), tell(250, "a", "shop")]
    score = judged(FAULT, timeline)
    assert (score.rank, score.incidents, score.first, score.answer.service) == (3, 2, True, "cart")


def test_an_incident_from_before_answers_while_it_is_open():
    before = [tell(-300, "a", "shop")]
    assert judged(FAULT, before).rank == 1
    assert math.isnan(judged(FAULT, before).found)
    assert judged(FAULT, [*before, tell(-130, "a", "shop", over=True)]).rank == 0
    assert judged(FAULT, [*before, tell(-110, "a", "shop", over=True)]).rank == 1


def test_the_registry_problem_finds_nothing_and_is_counted_apart():
    """An incident that is later about something else is one of the fault from then on."""
    registry = tell(10, "a", "shop", registry=True)
    assert math.isnan(judged(FAULT, [registry]).found)
    assert judged(FAULT, [registry]).rank == 0
    assert of_registry([registry, tell(20, "b", "cart")]) == 1
    both_of_them = [registry, tell(60, "a", "shop")]
    assert judged(FAULT, both_of_them).named == 60
    assert of_registry(both_of_them) == 0


def test_an_alert_is_about_the_registry_if_most_of_its_traces_and_its_first_service_are():
    """Without traces, if its first cause has the line."""

    def about(traces: tuple[str, ...], *causes: dict[str, str]) -> Told:
        alert = Alert(
            event=What.TRIGGER, id="i", dedup_key="a", time="2023-01-29T09:00:10Z", severity=Severity.WARNING, why="",
            title="t", text="", environment="default", group="ns/cart", started_at="", ended_at=None, confidence="",
            causes=tuple(dict[str, object](cause) for cause in causes), traces=traces,
        )  # fmt: skip
        found = told(alert, {"t1": {"shop", "pay"}, "t2": {"web"}})
        assert found
        return found

    line = {"service": "ns/shop", "what": f"line “{REGISTRY} for cart”"}
    assert about(("t1", "t2", "t3"), {"service": "shop"}).registry
    assert not about(("t1", "t3"), line).registry
    assert not about(("t1", "t2", "t3"), {"service": "cart"}).registry
    assert not about(("t1", "t2", "t3"), {"service": "shop", "kind": "full"}).registry
    assert about((), line).registry
    assert about((), line).service == "shop"
    assert about(()).service == "cart"


def test_the_inner_level_needs_the_service_and_both_events_or_the_resource():
    def inner(fault: Fault, service: str, text: str) -> bool:
        return judged(fault, [tell(10, "a", service, text=text)]).inner

    assert inner(FAULT, "shop", "Cart#34 no longer follows Cart#31")
    assert not inner(FAULT, "cart", "Cart#34 no longer follows Cart#31")
    assert not inner(FAULT, "shop", "Cart#34 is missing")
    start = FAULT._replace(cause="Cart.add start_Cart#34")
    assert inner(start, "shop", "in Cart.add, start is no longer followed by Cart#34")
    assert inner(FAULT._replace(cause="CpuUsageRate(%)"), "shop", "CpuUsageRate is 98 %")
    assert inner(FAULT._replace(cause="NetworkP90(ms)"), "shop", "network into shop")
    assert not inner(FAULT._replace(cause="NetworkP90(ms)"), "shop", "slow into shop")


def test_an_incident_is_false_by_its_first_alert_where_nothing_is_wrong():
    unsure = [("", (ONSET + 600_000, ONSET + 900_000))]
    timeline = [tell(-100, "a", "shop"), tell(300, "a", "shop"), tell(301, "b", "cart"), tell(302, "b", "cart"),
                tell(700, "c", "cart"), tell(303, "d", "pay", registry=True), tell(304, "e", "pay", over=True)]  # fmt: skip
    assert [one.incident for one in false(timeline, [FAULT], unsure)] == ["b"]


def test_two_faults_are_told_apart_by_two_incidents_that_each_lead_with_one():
    other = FAULT._replace(service="cart")
    timeline = [tell(10, "a", "shop", "cart")]
    assert not apart((FAULT, other), timeline, FAULT.span)
    assert apart((FAULT, other), [*timeline, tell(20, "b", "cart")], FAULT.span)
    assert not apart((FAULT, other), [*timeline, tell(20, "b", "cart"), tell(30, "b", "pay")], FAULT.span)


def test_a_summary_counts_faults_and_divides_incidents_by_those_found():
    scores = [judged(FAULT, [tell(10, "a", "shop"), tell(20, "b", "pay", "shop")]), judged(FAULT, [])]
    assert summed(scores) == {
        "faults": 2, "found": 1, "named": 1, "incidents": 2.0, "median_delay_s": 10.0, "as1": 0, "as3": 1, "as5": 1,
        "ais1": 0, "as1_first_alarm": 1,
    }  # fmt: skip


LINE = {"log": "17:00:00.000 ERROR a.B#1 text\n", "stream": "stdout", "time": "2023-01-29T09:00:00.5Z"}
QUOTED = '"' + json.dumps(LINE).replace('"', '""') + '"'
LOG = f"""TimeUnixNano,Node,PodName,TraceID,SpanID,Log
-6795364578871345152,n1,shop-5-x,{"a" * 32},{"b" * 16},{QUOTED}
{ONSET * 1_000_000},n1,cart-5-y,{"a" * 32},{"c" * 16},{QUOTED}rest of another,{QUOTED}
"""
TRACE = f"""TraceID,SpanID,ParentID,PodName,OperationName,StartTimeUnixNano,EndTimeUnixNano,Duration
{"a" * 32},{"b" * 16},root,shop-5-x,GET,{ONSET * 1_000_000},{ONSET * 1_000_000 + 3 * SECOND},1
"""
METRIC = f"""Time,TimeStamp,PodName,CpuUsage(m),CpuUsageRate(%),NetworkReceiveBytes
x,{ONSET // 1000},shop-5-x,500,12.5,NaN
"""


@pytest.mark.parametrize(("ending", "pack"), [("", bytes), (".gz", gzip.compress), (".xz", lzma.compress)])
def test_tables_are_read_however_they_are_packed(tmp_path, ending, pack):
    """Without spans to be ignored, without traces; a zero time and broken quoting are borne."""
    for name, table in (("metric/shop_metric.csv", METRIC), ("log/09_00_log.csv", LOG)):
        path = tmp_path / "rca_data" / "2023-01-29" / (name + ending)
        path.parent.mkdir(parents=True)
        path.write_bytes(pack(table.encode()))
    labels = "onset_utc,service,type,pod,root_cause\n2023-01-29T09:00:00Z,shop,return,shop-5-x,Cart#31_Cart#34\n"
    (tmp_path / ("labels.csv" + ending)).write_bytes(pack(labels.encode()))
    assert faults(tmp_path) == [FAULT]
    assert ignored(tmp_path) == []
    assert list(spans(tmp_path)) == []
    (row,) = metrics(tmp_path)
    assert (row.service, row.values) == ("shop", {"CpuUsage(m)": 500.0, "CpuUsageRate(%)": 12.5})
    zero, broken = logs(tmp_path)
    assert (zero.at, zero.time) == (ONSET * 1_000_000 + SECOND // 2, -6795364578871345152)
    assert broken.body == zero.body == "17:00:00.000 ERROR a.B#1 text"


def test_rows_are_sent_as_a_collector_would_in_order_of_time(tmp_path):
    """One record a source and step, metrics first; a span when it ends; the zero time stays what it is."""
    for name, table in (("log", LOG), ("trace", TRACE)):
        path = tmp_path / "construct_data" / "2023-01-29" / name / f"09_00_{name}.csv"
        path.parent.mkdir(parents=True)
        path.write_text(table)
    pods = {"CpuUsage(m)": 500.0, "NetworkReceiveBytes": 7.0}
    rows: list[Row] = [*logs(tmp_path), *spans(tmp_path), MetricRow(ONSET * 1_000_000, "shop-5-x", "shop", pods)]
    made = list(records(rows))
    at = ONSET * 1_000_000 // STEP * STEP
    assert [(r.at, r.encoding) for r in made] == [(at, METRICS), (at, LOGS), (at + STEP, SPANS)]

    gauge, count = ExportMetricsServiceRequest.FromString(made[0].value).resource_metrics[0].scope_metrics[0].metrics
    assert (gauge.name, gauge.unit, gauge.gauge.data_points[0].as_double) == ("CpuUsage", "{cpu}", 0.5)
    assert (count.name, count.unit) == ("NetworkReceiveBytes", "By")
    cart, shop = ExportLogsServiceRequest.FromString(made[1].value).resource_logs
    assert [a.value.string_value for a in cart.resource.attributes] == ["cart", "cart-5-y", "n1"]
    (line,) = shop.scope_logs[0].log_records
    assert (line.time_unix_nano, line.trace_id.hex()) == (2**64 - 6795364578871345152, "a" * 32)
    (span,) = ExportTraceServiceRequest.FromString(made[2].value).resource_spans[0].scope_spans[0].spans
    assert (span.parent_span_id, span.kind, span.name) == (b"", 0, "GET")


def test_a_columns_brackets_become_a_unit():
    assert named("PodWorkload(Ops)") == ("PodWorkload", "{operation}/s", 1.0)
    assert named("MemoryUsage(Mi)") == ("MemoryUsage", "By", 1048576.0)
    assert named("SyscallRead") == ("SyscallRead", "", 1.0)


def test_two_faults_at_once_are_the_second_moved_to_the_first():
    """Its lines and spans, in traces of their own; of the samples those of the pod that it breaks."""
    other = Fault(ONSET + 3_600_000, "cart", "exception", "cart-5-y")
    first, second = ONSET * 1_000_000, other.onset * 1_000_000
    sample = [MetricRow(at, f"{who}-5-y", who, {"a": float(at)}) for at in (first, second) for who in ("shop", "cart")]
    span = [SpanRow(at + 1, "cart-5-y", "7a", "b", "", "GET", at, at + 1) for at in (first, second)]
    line = [LogRow(at + 2, "cart-5-y", "n1", "7a", "b", at + 2, "text") for at in (first, second)]
    made = set(map(str, both((FAULT, other), [*sample, *span, *line])))
    assert made == {
        str(sample[0]), str(span[0]), str(line[0]), str(sample[3]._replace(at=first)),
        str(span[0]._replace(trace="fa")), str(line[0]._replace(trace="fa")),
    }  # fmt: skip


def test_pairs_are_of_one_day_and_different_services_and_come_from_the_seed():
    many = [FAULT._replace(onset=ONSET + i * 600_000, service=f"s{i % 3}") for i in range(6)]
    many += [FAULT._replace(onset=ONSET + 86_400_000)]
    drawn = pairs(many, 5, 7)
    assert drawn == pairs(many, 5, 7) != pairs(many, 5, 8)
    assert all(a.service != b.service and abs(a.onset - b.onset) < 86_400_000 for a, b in drawn)
    assert len(pairs(many, 100, 7)) == 12
