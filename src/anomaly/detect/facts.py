"""Where things run: node, zone, version, deployment, team, from the attributes of series and from series that say no more.

An instance is known by the first of WHO among its series' instance labels; where it runs stands in the attributes that all
its series share, so one series of each is looked at. Series of INFO say it of others: Prometheus's `target_info` of a target
(by job, its group, and instance), kube-state-metrics of pods and nodes, the node exporter of itself. What several of them
say of one is put together, and a pod gets what is known of its node. Names are OpenTelemetry's; a pod or node by which
others are found has the name that Prometheus gives it as well.

Told at first sight and when it changes; that is all, since who is told remembers. That a spec ignores them does not matter:
read is what is announced, and of that only what may tell something (`telling`). Bounded: `limits.facts` instances, and as
many that INFO tells of; those met first are forgotten, and told again when they are announced anew.
Weak: pods of two namespaces with one name (stateful sets) are taken for one.
"""

import re
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec
import numpy as np

from anomaly.decode.identity import Labels
from anomaly.decode.texts import Strung
from anomaly.detect.beside import Facts
from anomaly.detect.telling import SAYS, Telling

WHO = ("k8s.pod.name", "pod", "service.instance.id", "instance", "container.id", "host.name")
NODE, POD = "k8s.node.name", "k8s.pod.name"
ALSO = {POD: "pod", NODE: "node"}
FACTS = (
    NODE, POD, "host.name", "cloud.availability_zone", "cloud.region", "k8s.cluster.name", "k8s.namespace.name",
    "k8s.deployment.name", "k8s.statefulset.name", "k8s.daemonset.name", "service.version", "container.image.name",
    "container.image.tag", "container.image.tags", "team",
)  # fmt: skip
_KEPT = frozenset(FACTS)
_FLAT = {name.replace(".", "_"): name for name in FACTS}
_KUBE = {
    "node": NODE, "label_topology_kubernetes_io_zone": "cloud.availability_zone",
    "label_topology_kubernetes_io_region": "cloud.region", "label_team": "team", "label_app_kubernetes_io_team": "team",
    "label_failure_domain_beta_kubernetes_io_zone": "cloud.availability_zone",
    "label_app_kubernetes_io_version": "service.version",
}  # fmt: skip
_OWNERS = {"ReplicaSet": "k8s.deployment.name", "StatefulSet": "k8s.statefulset.name", "DaemonSet": "k8s.daemonset.name"}
_HASH = re.compile(r"-[bcdfghjklmnpqrstvwxz2456789]{6,10}$")  # by which a replica set differs from its deployment


class Info(NamedTuple):
    """What a series tells: of whom, by which label, as which fact; and what its other labels are called."""

    label: str
    who: str
    names: dict[str, str]
    own: bool = False  # whether the group that tells it is that which it is about


INFO = {
    "target_info": Info("instance", "instance", _FLAT, own=True),
    "target.info": Info("instance", "instance", _FLAT, own=True),
    "node_uname_info": Info("instance", "instance", {"nodename": NODE}),
    "kube_pod_info": Info("pod", POD, _KUBE),
    "kube_pod_labels": Info("pod", POD, _KUBE),
    "kube_pod_owner": Info("pod", POD, {}),
    "kube_node_labels": Info("node", NODE, _KUBE),
}


class Head(msgspec.Struct, array_like=True):
    """The beginning of a series' text (`identity.pack`), its labels unread."""

    environment: str
    group: str
    metric: str
    unit: str
    labels: msgspec.Raw
    instance: msgspec.Raw


class Met(NamedTuple):
    """An instance that is new, or of which something else is said: what its attributes are."""

    environment: str
    group: str
    labels: dict[str, str]


class Told(msgspec.Struct, array_like=True):
    """What is known of one by INFO."""

    environment: str
    group: str
    name: str
    value: str
    facts: dict[str, str]


class Kept(msgspec.Struct):
    """The state: instances that were met (8 bytes each), and what INFO told."""

    met: bytes = b""
    told: list[Told] = []
    version: int = 1  # of the keys in `met`: those of another one are forgotten


When = Callable[[], int]  # ms
Key = tuple[str, str, str]  # environment, name and value of who; of targets the value with the group
_head = msgspec.msgpack.Decoder(Head).decode
_labels = msgspec.msgpack.Decoder(Labels).decode
VERSION = 2
TOLD_BY = (*FACTS, "node")  # labels of an instance's series without which there is nothing to read


class Places:
    """What is known of where things run, on a partition."""

    def __init__(self, limit: int, seed: int) -> None:
        self.limit, self.dropped = limit, 0
        self._telling = Telling(INFO, TOLD_BY, seed)
        self._met: OrderedDict[int, None] = OrderedDict()  # a plain one is slow where the oldest goes each time
        self._told: OrderedDict[Key, Told] = OrderedDict()
        self._on: dict[tuple[str, str], list[Key]] = defaultdict(list)  # pods by environment and node

    def new(self, texts: Strung) -> Iterator[tuple[int, int]]:
        """Which of these series may tell something that was not told, in their order, with the key for `look`."""
        keys = self._telling.keys(texts)
        for i in np.flatnonzero(keys).tolist():
            key = int(keys[i])
            if key not in self._met:
                yield i, key

    def look(self, key: int, text: bytes, when: When) -> tuple[list[Facts], Met | None]:
        """What a series that is `new` tells of places, and the instance that it is of, or tells of."""
        head = _head(text)
        if key == SAYS:
            labels = dict(_labels(head.labels)) | dict(_labels(head.instance))
            found = list(self._info(head, labels, when))
            return found, Met(head.environment, head.group, dict(found[0].facts)) if found and INFO[
                head.metric
            ].own else None
        self._met[key] = None
        if len(self._met) > self.limit:
            self._met.popitem(last=False)
            self.dropped += 1
        instance = dict(_labels(head.instance))
        labels = dict(_labels(head.labels)) | instance
        return list(self._instance(head, instance, labels, when)), Met(head.environment, head.group, labels)

    def _instance(self, head: Head, instance: dict[str, str], labels: dict[str, str], when: When) -> Iterator[Facts]:
        name = next((name for name in WHO if instance.get(name)), None)
        facts = {k: v for k, v in labels.items() if k in _KEPT and k != name}
        if name and "node" in instance and name in ("pod", "instance"):
            facts[NODE] = instance["node"]
        if name and facts:
            yield _said(head.environment, head.group, name, instance[name], facts, when())

    def _info(self, head: Head, labels: dict[str, str], when: When) -> Iterator[Facts]:
        info = INFO[head.metric]
        value = labels.get(info.label, "")
        facts = {info.names[k]: v for k, v in labels.items() if k in info.names and v and k != info.label}
        owner = labels.get("owner_kind") or labels.get("created_by_kind", "")
        if owner in _OWNERS:
            name = labels.get("owner_name") or labels.get("created_by_name", "")
            facts[_OWNERS[owner]] = _HASH.sub("", name) if owner == "ReplicaSet" else name
        if not value or not facts:
            return
        of = "" if info.who in ALSO else head.group
        key = head.environment, info.who, f"{of}\0{value}"
        told = self._told.get(key) or Told(head.environment, head.group, info.who, value, {})
        if facts.items() <= told.facts.items():
            return
        self._move(key, told, facts)
        yield from self._whole(told, when())
        for pod in self._on.get((head.environment, value), ()) if info.who == NODE else ():
            yield from self._whole(self._told[pod], when())

    def _move(self, key: Key, told: Told, facts: dict[str, str]) -> None:
        """Note facts, and on which node a pod is."""
        old, told.facts = told.facts.get(NODE), told.facts | facts
        self._told[key] = told
        new = told.facts.get(NODE)
        if told.name == POD and old != new:
            if old:
                self._on[told.environment, old].remove(key)
            self._on[told.environment, str(new)].append(key)
        if len(self._told) > self.limit:
            self._drop()

    def _drop(self) -> None:
        """Forget who was met first."""
        key, gone = self._told.popitem(last=False)
        self.dropped += 1
        if gone.name == POD and NODE in gone.facts:
            self._on[gone.environment, gone.facts[NODE]].remove(key)

    def _whole(self, told: Told, time: int) -> Iterator[Facts]:
        """What is known of one, with what is known of its node."""
        node = self._told.get((told.environment, NODE, f"\0{told.facts.get(NODE, '')}"))
        facts = (node.facts if node and told.name == POD else {}) | told.facts
        for name in (told.name, *([ALSO[told.name]] if told.name in ALSO else [])):
            yield _said(told.environment, told.group, name, told.value, facts, time)

    def overflow(self) -> list[tuple[str, str, int]]:
        """As `Detector.overflow`: of how many it was forgotten where they run."""
        return [("", "facts", self.dropped)] if self.dropped else []

    def dump(self) -> Kept:
        """All state."""
        met = np.fromiter(self._met, np.uint64, len(self._met))
        return Kept(met.tobytes(), list(self._told.values()), VERSION)

    def load(self, kept: Kept) -> None:
        """What `dump` gave."""
        met = np.frombuffer(kept.met if kept.version == VERSION else b"", np.uint64)
        self._met = OrderedDict.fromkeys(met.tolist())
        for told in kept.told:
            key = told.environment, told.name, f"{'' if told.name in ALSO else told.group}\0{told.value}"
            self._told[key] = told
            if told.name == POD and NODE in told.facts:
                self._on[told.environment, told.facts[NODE]].append(key)


def _said(environment: str, group: str, name: str, value: str, facts: dict[str, str], time: int) -> Facts:
    held = tuple(sorted(facts.items()))
    return Facts(environment=environment, group=group, who=((name, value),), facts=held, time=time)
