"""Facts and changes: what detect tells of where things run and of what was changed, and how often."""

from typing import Any

import pytest
from tests.detect.feed import Feed, P, ms, series

from anomaly.config.settings import Limits, Settings
from anomaly.decode.block import Announced
from anomaly.decode.changes import BY, KIND, WHAT
from anomaly.decode.identity import Series
from anomaly.decode.points import Flag, Kind
from anomaly.decode.texts import Strung
from anomaly.detect import facts
from anomaly.detect.beside import Change, Facts
from anomaly.detect.detector import Detector
from anomaly.detect.facts import INFO, TOLD_BY, Places
from anomaly.detect.telling import SAYS


class Told(Feed):
    """A feed that keeps what is told beside anomalies."""

    def at(self, seconds: float, *of: Any, flags: Flag = Flag.NONE) -> list[Any]:
        """One point of each series."""
        block = self.block([P(s, seconds, 1.0, flags=flags) for s in of])
        return [e for e in self.detector.detect(block) if isinstance(e, Facts | Change)]


def of(metric: str, **attributes: str) -> Series:
    """As `series`, which has parameters of other types too."""
    return series(metric, Kind.GAUGE, "", (), **attributes)


def changed(what: str = "v2 of it") -> Series:
    """A deployment of the shop by argo."""
    said = {KIND: "deployment", WHAT: what, BY: "argo", "service.version": "2"}
    return of("change", **said)


def pod(name: str, version: str = "1", node: str = "n1", metric: str = "m") -> Series:
    """A series of a pod."""
    return of(metric, k8s__pod__name=name, service__version=version, k8s__node__name=node)


def test_a_change_is_told_once_and_makes_no_series():
    feed, one = Told(), changed()
    (first,) = feed.at(10, one, flags=Flag.CHANGE)
    assert (first.group, first.kind, first.what, first.time) == ("shop", "deployment", "v2 of it", ms(10))
    assert dict(first.labels) == {"by": "argo", "service.version": "2"}
    assert feed.at(10, one, flags=Flag.CHANGE) == []
    assert feed.at(900, one, flags=Flag.CHANGE) == []
    assert feed.at(2_000, one, flags=Flag.CHANGE) == []  # it has not stopped
    assert [c.time for c in feed.at(4_000, one, flags=Flag.CHANGE)] == [ms(4_000)]
    assert feed.detector.series == 0
    assert bool(feed.detector.knows(feed.block([P(one, 0, 1)]).points.series).all())
    assert Told().at(10, one, flags=Flag.CHANGE)[0].id == first.id


def test_of_more_kinds_of_changes_than_the_limit_the_last_are_known_and_it_is_said():
    feed = Told(limits=Limits(changes=2))
    for i in range(3):
        feed.at(i, changed(f"change {i}"), flags=Flag.CHANGE)
    assert feed.detector.overflow() == [("", "change", 1)]
    assert feed.at(5, changed("change 2"), flags=Flag.CHANGE) == []


def test_a_version_that_comes_later_is_a_deployment_and_what_is_there_at_first_is_not():
    feed = Told()
    early = [e for t, v in ((0, "1"), (10, "2")) for e in feed.at(t, pod(f"a{t}", v)) if isinstance(e, Change)]
    assert early == []
    later = [e for t in range(400, 430) for e in feed.at(t, pod(f"b{t}", "3")) if isinstance(e, Change)]
    assert [(c.what, c.kind, c.time) for c in later] == [("shop 2 → 3", "deployment", ms(400))]
    assert dict(later[0].labels) == {"service.version": "3", "service.version.before": "2"}
    assert [e for e in feed.at(500, pod("c", "2")) if isinstance(e, Change)] == []


def test_where_an_instance_runs_is_told_with_its_first_series_and_not_again():
    feed = Told()
    (fact,) = feed.at(1, pod("a"))
    assert (fact.who, fact.group, fact.time) == ((("k8s.pod.name", "a"),), "shop", ms(1))
    assert dict(fact.facts) == {"k8s.node.name": "n1", "service.version": "1"}
    assert feed.at(2, pod("a", metric="other")) == []
    assert len(feed.at(3, pod("a", node="n2", metric="third"))) == 1


KUBE = {"service": "kube-state-metrics"}


def test_info_series_of_kubernetes_join_pod_node_zone_and_owner():
    feed = Told()
    info = of("kube_pod_info", **KUBE, pod="a", node="n1", instance="ksm", created_by_kind="ReplicaSet",
                  created_by_name="shop-6d4cf56db6")  # fmt: skip
    told = feed.at(1, info)
    assert {f.who for f in told} == {(("k8s.pod.name", "a"),), (("pod", "a"),)}
    assert dict(told[0].facts) == {"k8s.node.name": "n1", "k8s.deployment.name": "shop"}
    zone = of("kube_node_labels", **KUBE, node="n1", instance="ksm", label_topology_kubernetes_io_zone="z1")
    after = {f.who: dict(f.facts) for f in feed.at(2, zone)}
    assert after[("node", "n1"),] == {"cloud.availability_zone": "z1"}
    assert after[("k8s.pod.name", "a"),] == dict(told[0].facts) | {"cloud.availability_zone": "z1"}
    assert feed.at(3, info, zone) == []


def test_target_info_tells_of_its_target_and_a_new_version_in_it_is_a_deployment():
    feed = Told()
    target = {"service": "shop", "instance": "i1", "k8s_node_name": "n1"}
    (fact,) = feed.at(1, of("target_info", **target, service_version="1"))
    assert (fact.who, dict(fact.facts)) == ((("instance", "i1"),), {"k8s.node.name": "n1", "service.version": "1"})
    again = feed.at(400, of("target_info", **target, service_version="2"))
    assert [type(e) for e in again] == [Facts, Change]
    assert again[1].what == "shop 1 → 2"


def test_more_instances_than_the_limit_are_forgotten_counted_and_told_again():
    feed = Told(limits=Limits(facts=2))
    for i in range(3):
        feed.at(i, pod(f"p{i}"))
    assert ("", "facts", 1) in feed.detector.overflow()
    assert len(feed.at(9, pod("p0", metric="other"))) == 1


@pytest.mark.parametrize("cut", [1, 3])
def test_a_restored_detector_goes_on_as_if_nothing_had_been(cut: int):
    """State goes through bytes after `cut` of the steps; what is told after it, and the digest, are the same."""
    kube = of("kube_pod_info", **KUBE, pod="a", node="n1", instance="ksm")
    zone = of("kube_node_labels", **KUBE, node="n1", instance="ksm", label_topology_kubernetes_io_zone="z1")
    steps = [(1, (pod("a"), kube), Flag.NONE), (2, (changed(),), Flag.CHANGE), (3, (zone,), Flag.NONE),
             (900, (changed(), changed("x")), Flag.CHANGE), (901, (pod("b", "2"), zone), Flag.NONE)]  # fmt: skip

    def run(restored: bool) -> tuple[list[Any], bytes]:
        feed, told = Told(), []
        for n, (t, of, flags) in enumerate(steps):
            if restored and n == cut:
                rest = feed.detector.context.dump()
                feed.detector.context = type(feed.detector.context)(Settings())
                feed.detector.context.load(rest)
            told += feed.at(t, *of, flags=flags)
        return told, feed.detector.context.dump()

    assert run(True) == run(False)


def test_a_state_from_before_there_was_context_is_read():
    fresh = Detector(0, (), Settings())
    fresh.context.load(b"")
    assert fresh.context.say() == []


def test_compiled_code_finds_the_series_that_tell_something_as_reading_their_texts_does():
    """Against labels read in Python: who has no instance, or no label that is a fact, is not read."""
    some = [of("m"), of("m", instance="i"), of("m", instance="i", team="a"), of("other", instance="i", team="b"), pod("a"),
            of("m", service="web", instance="i", team="a"), of("target_info", instance="i"), of("m", team="a")]  # fmt: skip
    new = Announced.of(some)
    keys = Places(10, 0)._telling.keys(Strung.of(new.text)).tolist()
    known = [bool({k for k, _ in (*s.labels, *s.instance)} & set(TOLD_BY)) for s in some]
    tells = [s.metric in INFO or bool(s.instance and f) for s, f in zip(some, known, strict=True)]
    assert [key != 0 for key in keys] == tells
    assert keys[6] == SAYS
    assert keys[2] == keys[3]  # one instance
    assert len({keys[2], keys[4], keys[5], SAYS}) == 4


def test_an_instance_of_which_nothing_is_known_takes_no_place():
    feed = Told(limits=Limits(facts=1))
    assert [feed.at(i, of("m", instance=f"i{i}")) for i in range(5)] == [[]] * 5
    assert feed.detector.overflow() == []
    assert len(feed.at(9, of("other", instance="i1", team="a"))) == 1


def test_instances_kept_by_an_earlier_version_are_told_once_more():
    feed = Told()
    feed.at(1, pod("a"))
    before = feed.detector.context.places.dump()
    places = Places(10, 0)
    places.load(facts.Kept(before.met, before.told, 1))
    assert places.dump() == facts.Kept(b"", [], 2)
