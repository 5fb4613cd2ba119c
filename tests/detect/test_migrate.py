"""Other specs than those that a state was learned under: what they do not concern is kept."""

import json
from collections.abc import Sequence

import msgspec
import numpy as np
from tests.detect.feed import DEFAULT, Feed, P
from tests.detect.test_detector import ERRORS, IGNORE, LATENCY, SPECS, STORY, TRAFFIC

from anomaly.config.models import ModelSpec
from anomaly.config.settings import IdentitySettings, Settings
from anomaly.decode.identity import Identity
from anomaly.decode.points import Kind
from anomaly.detect.anomaly import Event
from anomaly.detect.detector import Detector
from anomaly.detect.judge import Batch, Verdicts
from anomaly.detect.watch import watch

HALF = 800  # points of the story: everybody is known, nobody is ill


def moved(feed: Feed, specs: Sequence[ModelSpec], seed: int = 0) -> Feed:
    """A feed whose detector has other specs, or another seed, and goes on from this one."""
    snapshot, layouts = feed.detector.gather(1), json.loads(json.dumps(feed.detector.layouts()))
    other = Feed(specs)
    if seed:
        other.detector = Detector(0, specs, Settings(identity=IdentitySettings(seed=seed)))
    other.detector.put(1, snapshot.parts, layouts)
    other.detector.settle(snapshot.rest)
    other.__dict__.update(heard=dict(feed.heard), _announced=set(feed._announced))
    look_on(other)
    return other


def look_on(feed: Feed) -> None:
    """Remember what is judged by the judge of now."""

    def remember(batch: Batch, verdicts: Verdicts) -> None:
        for row, time, value, judged in zip(batch.row, batch.time, verdicts.value, verdicts.judged, strict=True):
            s = feed.detector.register.subjects[row]
            feed.judged.append((s.metric, s.quantity, float(time), float(value), float(judged[0])))

    watch(feed.detector.judge, after=remember)


def played(specs: Sequence[ModelSpec], points: Sequence[P] = STORY[:HALF]) -> Feed:
    """A feed that has learned something."""
    feed = Feed(specs)
    feed.play(points)
    return feed


def learned(feed: Feed) -> dict[tuple[object, ...], bytes]:
    """The model state of each judged value, by who it is."""
    d = feed.detector
    held = {s.key: d.judge.bank.take([r]) for r, s in enumerate(d.register.subjects) if d.judge.table["slot"][r] < 0}
    return held | {s.key: d.judge.ratios.take([int(d.judge.table["slot"][r])])
                   for r, s in enumerate(d.register.subjects) if d.judge.table["slot"][r] >= 0}  # fmt: skip


def test_a_number_of_a_spec_may_change_without_anything_being_forgotten():
    """Every model is what it was, to the bit, and what is judged from then on is the same."""
    feed = played(SPECS)
    changed = msgspec.structs.replace(LATENCY, new_normal_after=9_999.0)
    other = moved(feed, (changed, *SPECS[1:]))
    assert learned(other) == learned(feed)
    assert other.detector.migrated[0] == "spec latency: changed"
    n = len(feed.judged)
    feed.play(STORY[HALF:])
    other.play(STORY[HALF:])

    assert len(feed.judged[n:]) == len(other.judged) > 0
    np.testing.assert_array_equal(sorted(j[-2:] for j in feed.judged[n:]), sorted(j[-2:] for j in other.judged))
    assert {a.id for a in other.said} <= {a.id for a in feed.said}


def test_a_new_spec_begins_anew_and_leaves_the_others_alone():
    """A ratio is judged that was none before."""
    feed = played((LATENCY, TRAFFIC, IGNORE, DEFAULT))
    other = moved(feed, SPECS)

    before, now = learned(feed), learned(other)
    assert before.items() <= now.items()
    assert {key[3] for key in now.keys() - before.keys()} == {"error ratio"}
    assert other.detector.migrated[0] == "spec errors: new"
    assert other.detector.series == feed.detector.series


def test_with_a_spec_that_is_gone_its_open_anomalies_end():
    """Nobody would end them otherwise; those of other specs stay open."""
    feed = played(SPECS, STORY[:1050])
    opened = {a.quantity for a in feed.detector.report.open.values()}
    assert {"mean", "error ratio"} <= opened
    other = moved(feed, (LATENCY, TRAFFIC, IGNORE, DEFAULT))
    other.send(*STORY[1050:1052])

    ended = [a for a in other.said if a.event is Event.CLOSE]
    assert [(a.quantity, a.reason) for a in ended] == [("error ratio", "series ended")]
    assert {a.quantity for a in other.detector.report.open.values()} == opened - {"error ratio"}
    assert "spec errors: gone" in other.detector.migrated


def test_the_order_of_specs_may_change():
    """Numbers of specs are ours."""
    feed = played(SPECS)
    other = moved(feed, (DEFAULT, IGNORE, ERRORS, TRAFFIC, LATENCY))

    assert learned(other) == learned(feed)
    assert other.detector.migrated[0] == "the order of specs is another one"


def test_another_hash_seed_forgets_nothing():
    """Every key is another one; who is meant stands in the texts."""
    feed = played(SPECS)
    other = moved(feed, SPECS, seed=7)

    assert learned(other) == learned(feed)
    identity = Identity(IdentitySettings(), 7)
    s = STORY[0].series
    again = identity.series(s.metric, s.unit, {"service.name": s.group, **dict(s.labels + s.instance)}, s.kind, s.bounds)
    assert other.detector.register.find(np.array([again.hash], np.uint64))[0] >= 0
    assert "the hash seed is another one" in other.detector.migrated


def test_a_state_of_the_same_specs_is_not_touched():
    """Nothing is said, and nothing is announced anew."""
    assert moved(played(SPECS), SPECS).detector.migrated == []


def test_a_label_that_a_convention_renamed_keeps_what_was_learned():
    """A state from before the map, an open anomaly, then points with the new name: nothing begins anew."""
    old, new = IdentitySettings(aliases={}), IdentitySettings()
    before = [Identity(old).series("m", "", {"service.name": "shop", "http.method": m}, Kind.GAUGE) for m in ("GET", "PUT")]
    after = [
        Identity(new).series("m", "", {"service.name": "shop", "http.request.method": m}, Kind.GAUGE) for m in ("GET", "PUT")
    ]
    mixed = Identity(new).series("m", "", {"service.name": "shop", "http.method": "GET"}, Kind.GAUGE)
    assert mixed == after[0]

    feed, rng = Feed(), np.random.default_rng(3)
    feed.detector = Detector(0, (DEFAULT,), Settings(identity=old))
    feed.play([P(s, t, 10.0 + rng.normal()) for t in range(0, 6000, 10) for s in before])
    feed.play([P(before[0], t, 90.0) for t in range(6000, 6300, 10)])
    feed.play([P(before[1], 6290, 10.0)])
    opened = {a.id for a in feed.detector.report.open.values()}
    assert opened

    snapshot, layouts = feed.detector.gather(1), json.loads(json.dumps(feed.detector.layouts()))
    other = Feed()
    other.detector.put(1, snapshot.parts, layouts)
    other.detector.settle(snapshot.rest)
    assert other.detector.migrated[0] == "labels have the names of now: http.method"
    assert {str(key): m for key, m in learned(other).items()} == {
        str(key).replace("http.method", "http.request.method"): m for key, m in learned(feed).items()
    }

    other.play([P(s, t, 10.0 + rng.normal()) for t in range(6300, 7500, 10) for s in after])
    assert other.detector.series == 2
    assert {a.id for a in other.said} <= opened
    assert {a.id for a in other.said if a.event is Event.CLOSE} == opened
    assert moved(other, (DEFAULT,)).detector.migrated == []
