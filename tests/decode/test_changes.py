"""Change events: our JSON, and the Kubernetes events that the Collector's receivers write among logs."""

from typing import Any

import jsonschema
import orjson
import pytest
from google.protobuf.json_format import MessageToJson
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from anomaly.config.settings import Settings, SourceSettings
from anomaly.decode.changes import KIND, METRIC, WHAT, published_schema
from anomaly.decode.k8s_events import owner
from anomaly.decode.points import Flag
from anomaly.decode.records import Records
from anomaly.decode.stage import Decode

NOW = 1_767_258_000_000  # 2026-01-01T09:00:00Z
EXAMPLE = {
    "time": "2026-01-01T08:58:00Z", "kind": "deployment", "what": "payment 2.3.0 → 2.3.1", "service": "shop/payment",
    "environment": "prod", "version": "2.3.1", "by": "argo", "link": "https://ci.example/4711", "cluster": 3,
}  # fmt: skip


def told(*values: bytes, encoding: str = "change_json", time: int = NOW) -> tuple[list[dict[str, Any]], list[str]]:
    """Each change as its group, environment, time and labels; and why records were set aside."""
    blocks, dead = Decode(Settings(), 1).blocks(
        SourceSettings(topic="c", encoding=encoding), Records.of(values, "c", time=time)
    )
    block = blocks[0][1]
    series = {s.hash: s for s in block.series}
    found = []
    for i in range(len(block.points)):
        one = series[int(block.points.series[i])]
        if one.metric == METRIC:
            assert block.points.flags[i] == Flag.CHANGE
            at = {"group": one.group, "environment": one.environment, "time": int(block.points.time[i])}
            found.append(at | dict(one.labels) | dict(one.instance))
    return found, [d.reason for d in dead]


def test_a_change_is_a_point_of_its_service_with_all_that_was_said():
    (found,), dead = told(orjson.dumps(EXAMPLE))
    assert dead == []
    assert found == {
        "group": "shop/payment", "environment": "prod", "time": NOW - 120_000, KIND: "deployment",
        WHAT: "payment 2.3.0 → 2.3.1", "service.version": "2.3.1", "change.by": "argo",
        "change.link": "https://ci.example/4711", "cluster": "3",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (b"{", "bad_json"),
        (b"[1]", "bad_json"),
        (b'{"kind": "flag"}', "bad_change"),
        (b'{"what": ["x"]}', "bad_change"),
        (b'{"what": "x", "schema": "anomaly.change/2"}', "bad_change"),
        (b'{"what": "x", "time": "soon"}', "bad_timestamp"),
        (b'{"what": "x", "time": {}}', "bad_timestamp"),
        (b'{"what": "x", "time": 7}', "bad_timestamp"),
        (b'{"what": "\xff"}', "bad_utf8"),
        (b"[" * 100_000, "bad_json"),
    ],
)
def test_what_is_no_change_is_set_aside_and_the_others_go_on(event: bytes, reason: str):
    found, dead = told(event, b'{"version": "v2", "service": "a"}')
    assert dead == [reason]
    assert [(c["group"], c[WHAT]) for c in found] == [("a", "a v2")]


ODD = [
    None,
    True,
    -1,
    0,
    1e300,
    1_767_258_000,
    "",
    "x",
    "2026-01-01",
    [],
    ["x"],
    {},
    {"a": {"b": 1}},
    {"a": 1, "change.kind": "x"},
]


@given(st.dictionaries(st.sampled_from([*EXAMPLE, "schema", "labels"]), st.sampled_from(ODD) | st.text(max_size=9)))
def test_whatever_an_object_holds_it_is_one_change_or_is_set_aside(event: dict[str, Any]):
    found, dead = told(orjson.dumps(event))
    assert len(found) + len(dead) == 1


def test_a_change_without_a_time_is_of_its_record_and_one_without_a_service_of_nobody():
    (found,), _ = told(b'{"what": "feature x on", "kind": "flag"}')
    assert (found["time"], found["group"]) == (NOW, "unknown")


def test_secrets_in_a_change_are_hidden_and_texts_cut():
    (found,), _ = told(orjson.dumps({"what": "set password=hunter2hunter2 " + "x" * 300}))
    assert "hunter2" not in found[WHAT]
    (found,), _ = told(orjson.dumps({"what": "x" * 300, "service": "a"}))
    assert len(found[WHAT]) == 200


def test_the_example_is_of_the_published_schema():
    schema = orjson.loads(published_schema())
    jsonschema.Draft202012Validator(schema).validate(EXAMPLE)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"kind": "flag"}, schema)


def test_a_source_of_changes_does_not_hold_back_the_time_of_others():
    blocks, _ = Decode(Settings(), 1).blocks(
        SourceSettings(topic="c", encoding="change_json"), Records.of([orjson.dumps(EXAMPLE)], "c", time=NOW)
    )
    assert blocks[0][1].heard == 0


def line(resource: dict[str, str], attributes: dict[str, str], body: Any) -> ExportLogsServiceRequest:
    """A request with one line."""
    request = ExportLogsServiceRequest()
    made = request.resource_logs.add()
    for key, value in resource.items():
        made.resource.attributes.add(key=key).value.string_value = value
    record = made.scope_logs.add().log_records.add(time_unix_nano=NOW * 1_000_000, severity_number=9)
    for key, value in attributes.items():
        record.attributes.add(key=key).value.string_value = value
    put(record.body, body)
    return request


def put(value: Any, held: Any) -> None:
    if isinstance(held, dict):
        value.kvlist_value.SetInParent()
        for key, inner in held.items():
            put(value.kvlist_value.values.add(key=key).value, inner)
    else:
        value.string_value = held


def k8s_events(reason: str, message: str, kind: str, name: str) -> ExportLogsServiceRequest:
    """As the receiver of that name writes an event."""
    resource = {"k8s.node.name": "n1", "k8s.object.kind": kind, "k8s.object.name": name, "k8s.object.uid": "u"}
    return line(resource, {"k8s.event.reason": reason, "k8s.event.uid": name, "k8s.namespace.name": "shop"}, message)


def k8sobjects(reason: str, message: str, kind: str, name: str) -> ExportLogsServiceRequest:
    """The same as k8sobjects watches it."""
    about = {"kind": kind, "name": name, "namespace": "" if kind == "Node" else "shop"}
    event = {"kind": "Event", "reason": reason, "message": message, "involvedObject": about}
    stamped = event | {"lastTimestamp": "2026-01-01T09:00:00Z"}
    return line({}, {"k8s.resource.name": "events"}, {"type": "ADDED", "object": stamped})


SAID = [
    (("ScalingReplicaSet", "Scaled up replica set pay-6d4cf56db6 to 3 from 2", "Deployment", "pay"),
     ("shop/pay", "deployment", "pay: Scaled up replica set pay-6d4cf56db6")),
    (("Killing", "Stopping container pay", "Pod", "pay-6d4cf56db6-x2x4q"),
     ("shop/pay", "restart", "pay: Stopping container pay")),
    (("SuccessfulRescale", "New size: 9; reason: cpu", "HorizontalPodAutoscaler", "pay"),
     ("shop/pay", "scaling", "pay: New size: 9; reason: cpu")),
    (("NodeNotReady", "Node n7 status is now: NodeNotReady", "Node", "n7"),
     ("unknown", "node", "n7: Node n7 status is now: NodeNotReady")),
]  # fmt: skip


@pytest.mark.parametrize("write", [k8s_events, k8sobjects])
@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(("event", "expected"), SAID)
def test_kubernetes_events_that_change_something_are_changes_of_the_owner(
    write: Any, as_json: bool, event: tuple[str, ...], expected: tuple[str, ...]
):
    request = write(*event)
    value = MessageToJson(request).encode() if as_json else request.SerializeToString()
    (found,), dead = told(value, encoding="otlp_logs_json" if as_json else "otlp_logs_proto")
    assert (found["group"], found[KIND], found[WHAT]) == expected
    assert found["time"] == NOW
    assert dead == []


def test_events_that_change_nothing_and_other_lines_are_log_lines_only():
    values = [
        k8s_events("Pulled", "Image is there", "Pod", "a-1"),
        line({"service.name": "a"}, {}, "k8s.event.reason, he said"),
    ]
    assert told(*(v.SerializeToString() for v in values), encoding="otlp_logs_proto") == ([], [])


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        ("Pod", "pay-6d4cf56db6-x2x4q", "pay"), ("Pod", "redis-0", "redis"), ("Pod", "fluent-bit-x2x4q", "fluent-bit"),
        ("ReplicaSet", "pay-api-6d4cf56db6", "pay-api"), ("Pod", "pay", "pay"),
        ("Deployment", "pay-6d4cf56db6", "pay-6d4cf56db6"),
    ],
)  # fmt: skip
def test_the_owner_of_a_pod_is_read_from_its_name(kind: str, name: str, expected: str):
    assert owner(kind, name) == expected
