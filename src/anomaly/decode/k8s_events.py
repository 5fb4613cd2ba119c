"""Kubernetes events that say that something was changed, as the Collector's receivers write them: OTLP logs.

`k8s_events` writes the reason as the line's attribute `k8s.event.reason`, the object as the resource's `k8s.object.*` and
the message as the line; `k8sobjects` writes the object Event whole as the body, when it watches within `{"type", "object"}`.
They stay log lines like others; in addition those with a reason in REASONS are changes (`changes`). Of a rollout there are
dozens (a pod each, a number of replicas each): the object is named by what it belongs to, the message without its numbers,
so that they are one series, which detect tells once. A block is looked through for MARKS, which is fast; only records that
hold one are parsed. Weak: the owner of a pod is guessed from its name.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from anomaly.decode.bits import holds
from anomaly.decode.catalog import Catalog
from anomaly.decode.changes import change, timed
from anomaly.decode.encodings import Decoded, Parsed, Sample
from anomaly.decode.log_lines import Lines
from anomaly.decode.otlp_attributes import attributes, plain
from anomaly.decode.otlp_logs import MILLISECOND, instant, parse_json, parse_protobuf
from anomaly.decode.points import Points
from anomaly.decode.records import BadRecord, Records
from anomaly.decode.text import rfc3339

REASON = "k8s.event.reason"
MARKS = REASON.encode(), b"involvedObject"
RARE = tuple((np.frombuffer(mark, np.uint8), mark.index(pair)) for mark, pair in zip(MARKS, (b"k8", b"dO"), strict=True))
PARSERS = {"otlp_logs_proto": parse_protobuf, "otlp_logs_json": parse_json}
REASONS = {
    # Deployments and whatever rolls out in their place (Argo, Flux, Flagger).
    "ScalingReplicaSet": "deployment", "DeploymentRollback": "deployment", "RolloutUpdated": "deployment",
    "RolloutCompleted": "deployment", "RolloutAborted": "deployment", "NewReplicaSetCreated": "deployment",
    "ReconciliationSucceeded": "deployment", "UpgradeSucceeded": "deployment", "Synced": "deployment",
    "SuccessfulRescale": "scaling",
    # Containers that begin again, or are sent elsewhere.
    "Killing": "restart", "BackOff": "restart", "CrashLoopBackOff": "restart", "OOMKilling": "restart", "Evicted": "restart",
    "Preempted": "restart", "Preempting": "restart", "TaintManagerEviction": "restart",
    "NodeNotReady": "node", "NodeNotSchedulable": "node", "NodeSchedulable": "node", "NodeReady": "node", "Rebooted": "node",
    "RemovingNode": "node", "ScaleDown": "node",
}  # fmt: skip
# What Kubernetes appends to a name: of a replica set, of a pod of it. It uses no vowels (rand.SafeEncodeString).
_LETTERS = "[bcdfghjklmnpqrstvwxz2456789]"
_POD = re.compile(rf"(?:-{_LETTERS}{{6,10}})?-{_LETTERS}{{5}}$|-\d+$")
_REPLICA_SET = re.compile(rf"-{_LETTERS}{{6,10}}$")
_NUMBERS = re.compile(r" to \d+(?: from \d+)?| pod \S+| container \S+ in pod \S+")
_OWNED = {"Deployment": "k8s.deployment.name", "ReplicaSet": "k8s.deployment.name", "Pod": "k8s.deployment.name",
          "Rollout": "k8s.deployment.name", "StatefulSet": "k8s.statefulset.name", "DaemonSet": "k8s.daemonset.name",
          "HorizontalPodAutoscaler": "k8s.deployment.name", "Node": "k8s.node.name"}  # fmt: skip

Held = Mapping[str, Any]


def owner(kind: str, name: str) -> str:
    """The name of what an object belongs to: `shop` of pod `shop-6d4cf56db6-x2x4q` and of its replica set."""
    pattern = {"Pod": _POD, "ReplicaSet": _REPLICA_SET}.get(kind)
    return pattern.sub("", name) if pattern else name


def _change(reason: str, message: str, kind: str, name: str, held: dict[str, str], when: int) -> Sample | None:
    if reason not in REASONS or not name:
        return None
    own = owner(kind, name)
    about = held | {_OWNED.get(kind, "k8s.object.name"): own}
    if kind != "Node" and "service.name" not in about:
        about["service.name"] = own
        if about.get("k8s.namespace.name"):
            about["service.namespace"] = about["k8s.namespace.name"]
    said = _NUMBERS.sub("", message).strip()
    return change(REASONS[reason], f"{own}: {said or reason}", about, when)


def _of_attributes(resource: dict[str, str], line: dict[str, str], body: Any, when: int) -> Sample | None:
    """As `k8s_events` writes it."""
    kind, name = resource.get("k8s.object.kind", ""), resource.get("k8s.object.name", "")
    held = {k: v for k, v in (resource | line).items() if not k.startswith(("k8s.object.", "k8s.event."))}
    if kind not in ("Pod", "Node"):
        held.pop("k8s.node.name", None)  # of the controller that wrote it
    return _change(line.get(REASON, ""), body if isinstance(body, str) else "", kind, name, held, when)


def _of_object(resource: dict[str, str], body: Held, when: int) -> Sample | None:
    """As `k8sobjects` writes it."""
    event = body.get("object", body)
    about = event.get("involvedObject") if isinstance(event, dict) else None
    if not isinstance(about, dict) or body.get("type") == "DELETED":  # an event that is forgotten
        return None
    said = {k: str(about.get(k) or "") for k in ("kind", "name", "namespace")}
    held = resource | {"k8s.namespace.name": said["namespace"] or resource.get("k8s.namespace.name", "")}
    stamped = next((event[k] for k in ("eventTime", "lastTimestamp", "firstTimestamp") if event.get(k)), "")
    with suppress(BadRecord):  # it keeps the time at which it was read
        when = rfc3339(str(stamped)) if stamped else when
    held = {k: v for k, v in held.items() if v}
    return _change(str(event.get("reason")), str(event.get("message") or ""), said["kind"], said["name"], held, when)


def changes(request: Any) -> Iterator[Sample]:
    """The changes that a request of log lines tells."""
    for resource_logs in request.resource_logs:
        resource = attributes(resource_logs.resource.attributes)
        for scope_logs in resource_logs.scope_logs:
            for record in scope_logs.log_records:
                body, line = plain(record.body), attributes(record.attributes)
                found = None
                if REASON in line:
                    found = _of_attributes(resource, line, body, instant(record) // MILLISECOND)
                elif isinstance(body, dict):
                    found = _of_object(resource, body, instant(record) // MILLISECOND)
                if found is not None:
                    yield found


class Events:
    """An encoding of OTLP logs whose lines may be Kubernetes events: its lines as they are, and the changes among them."""

    def __init__(self, lines: Lines, encoding: str) -> None:
        self.lines = lines
        self._parsed = Parsed(lambda value: changes(PARSERS[encoding](value)))

    def decode(self, records: Records, catalog: Catalog) -> Decoded:
        """As `Encoding.decode`. What cannot be read is set aside once, by the encoding itself."""
        decoded = self.lines.decode(records, catalog)
        if not any(holds(records.readable, mark, rare) for mark, rare in RARE):
            return decoded
        index = np.array([i for i in range(len(records)) if any(mark in records.value(i) for mark in MARKS)], np.int32)
        columns = {name: getattr(records, name)[index] for name in ("offset", "time", "value_at", "value_len")}
        some = replace(records, **columns)
        more = timed(self._parsed.decode(some, catalog), some)
        if not len(more.points):
            return decoded
        more.points.record = index[more.points.record]
        points = Points.joined([decoded.points, more.points])
        points = points.take(np.argsort(points.record, kind="stable"))
        return replace(decoded, points=points, overflow=decoded.overflow + more.overflow)
