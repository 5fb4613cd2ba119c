"""Common shifts: members of a sum speak for themselves only where the sum does not speak for them."""

import numpy as np
from tests.detect.feed import Feed, P, series

from anomaly.config.models import Direction, Match, ModelSpec, Signal
from anomaly.decode.points import Kind
from anomaly.detect.anomaly import Event

SPEC = ModelSpec(
    name="load", match=(Match(metric=("load",)),), signal=Signal.SATURATION, direction=Direction.ABOVE,
    min_relative=0.25, min_deviation=0.05, min_duration=30.0,
)  # fmt: skip
PODS = [series("load", Kind.GAUGE, "1", k8s__pod__name=f"pod-{i}") for i in range(10)]
NOISE = np.random.default_rng(2).normal(0.0, 0.05, (2_000, 10))


def feed(moved: range, begin: int = 1800, end: int = 2700, sooner: float = 1.0) -> Feed:
    """Ten pods, of which some have three times the load for a while; the first of them until the end."""
    told = Feed([SPEC])
    points = []
    for second in range(0, 4200, 10):
        for i, pod in enumerate(PODS):
            over = 4200 if i == moved.start and sooner != 1.0 else end
            times = 3.0 if i in moved and begin <= second < over else 1.0
            points.append(P(pod, second + 0.1 * i, float(0.2 * times * np.exp(NOISE[second // 10, i]))))
    told.play(points, 30)
    return told


def opened(told: Feed) -> list[bool]:
    """Whether it was the sum's, of each anomaly that was opened."""
    return [a.aggregate for a in told.said if a.event is Event.OPEN]


def test_a_shift_of_all_members_is_one_anomaly_of_the_sum():
    told = feed(range(10))
    assert opened(told) == [True]
    assert next(a.breadth for a in reversed(told.said) if a.aggregate) == (10, 10)
    assert all(a.aggregate for a in told.said)


def test_a_shift_of_a_few_is_told_of_these():
    """Two of ten move the mean too: who it is must be known."""
    told = feed(range(2))
    names = {dict(a.instance)["k8s.pod.name"] for a in told.said if not a.aggregate}
    assert names == {"pod-0", "pod-1"}
    assert all(a.breadth is None for a in told.said)


def test_one_alone_is_told_though_it_had_to_wait_for_the_sum():
    told = feed(range(4, 5))
    mine = [a for a in told.said if not a.aggregate]
    assert [a.event for a in mine if a.event is not Event.RECORD] == [Event.OPEN, Event.CLOSE]
    assert {a.instance for a in mine} == {PODS[4].instance}


def test_what_outlasts_the_sums_anomaly_is_told_then():
    """All move, nine come back."""
    told = feed(range(10), sooner=2.0)
    assert opened(told) == [True, False]
    over = next(a for a in told.said if a.aggregate and a.event is Event.CLOSE)
    assert next(a for a in told.said if not a.aggregate).instance == PODS[0].instance
    assert told.said.index(over) < told.said.index(next(a for a in told.said if not a.aggregate))
