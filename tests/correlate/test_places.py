"""Where things run, and how much more the ill ones have in common than chance gives them."""

from fractions import Fraction
from math import comb

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.dispatch.story import QUEUE, at, opened

from anomaly.config.settings import Correlation
from anomaly.correlate.places import Places, PlacesMemory, tail
from anomaly.detect.beside import Change, Facts


def facts(pod: str, *said: tuple[str, str], group: str = "kube") -> Facts:
    return Facts(environment="prod", group=group, who=(("pod", pod),), facts=said, time=at(0))


@given(st.integers(1, 60), st.data())
def test_the_chance_is_that_of_drawing_without_putting_back(all_: int, data: st.DataObject):
    have, of = data.draw(st.integers(0, all_)), data.draw(st.integers(0, all_))
    ill = data.draw(st.integers(0, min(have, of)))
    ways = sum(comb(have, k) * comb(all_ - have, of - k) for k in range(ill, min(have, of) + 1))
    assert tail(ill, of, have, all_) == pytest.approx(float(Fraction(ways, comb(all_, of))), rel=1e-9)


def test_the_last_word_about_somebody_counts_and_is_counted_once():
    places = Places(Correlation())
    for node in ("n1", "n2", "n2"):
        places.learn(facts("a", ("node", node)))
    places.learn(facts("b", ("node", "n2")))
    (place,) = places.where(opened("x", 0, kind=QUEUE | {"instance": (("pod", "a"), ("zone", "z"))}))
    assert (place.kind, place.value) == ("node", "n2")
    assert places.known("prod", "", place) == (2, 2)


def test_past_the_limit_those_told_first_give_way():
    places = Places(Correlation(places=100, changes=10))
    for i in range(1_000):
        places.learn(facts(f"p{i}", ("node", f"n{i % 7}")))
        places.learn(Change(id=str(i), environment="prod", group="g", kind="k", what="", labels=(), time=at(i)))
    kept = places.memory()
    assert [f.who[0][1] for f in kept.facts] == [f"p{i}" for i in range(900, 1_000)]
    assert [c.id for c in kept.changes] == [str(i) for i in range(990, 1_000)]
    again = Places(Correlation())
    again.remember(msgspec.msgpack.decode(msgspec.msgpack.encode(kept), type=PlacesMemory))
    assert again.memory() == kept
    (place,) = again.where(opened("x", 0, kind=QUEUE | {"instance": (("pod", "p999"),)}))
    assert again.known("prod", "", place) == places.known("prod", "", place)
