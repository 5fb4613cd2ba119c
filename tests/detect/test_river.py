"""Series that a spec gives to one of river's models: scored by it, in the band of the default model, and kept."""

import numpy as np
import pytest
from numpy.typing import NDArray
from river import anomaly as peer
from tests.detect.feed import DEFAULT, Feed, P, series
from tests.detect.test_keep import again, gathered
from tests.detect.test_migrate import moved

from anomaly.config.models import Match, Model, ModelSpec
from anomaly.config.river import KNOWN, River
from anomaly.config.settings import Limits
from anomaly.detect.anomaly import Event
from anomaly.detect.moment import Moments
from anomaly.detect.river import NOT_RIVER, Rivers, Scorer
from anomaly.host.explain_words import explained

TREES = River(model="HalfSpaceTrees", parameters={"n_trees": 5, "height": 6, "window_size": 60}, memory=100)
GAUSS = River(model="GaussianScorer", parameters={"grace_period": 20}, memory=400)
QUEUE = series("queue")
OTHER = series("other")


def spec_of(river: River) -> ModelSpec:
    """What takes the queue."""
    return ModelSpec(name="odd", match=(Match(metric=("queue",)),), model=Model.RIVER, river=river, min_duration=20.0)


def points(n: int, begin: int = 0, fault: range = range(0)) -> list[P]:
    """A queue, and another gauge, every 10 s; in a fault the queue is far longer."""
    noise = np.random.default_rng(5).normal(size=(n, 2))
    return [
        p
        for i in range(begin, n)
        for p in (
            P(QUEUE, 10.0 * i, 50.0 + 2.0 * noise[i, 0] + 40.0 * (i in fault)),
            P(OTHER, 10.0 * i, 9.0 + noise[i, 1]),
        )
    ]


def judged(feed: Feed, metric: str = "queue") -> NDArray[np.float64]:
    """Time, value and score of what was judged of a metric, (n, 3)."""
    return np.array([row[2:] for row in feed.judged if row[0] == metric])


def fed(river: River, n: int, fault: range = range(0)) -> Feed:
    """A detector that has seen so many points of each."""
    feed = Feed([spec_of(river), DEFAULT])
    feed.play(points(n, fault=fault), 100.0)
    return feed


def test_a_fault_is_an_anomaly_of_the_spec_with_a_band_and_evidence():
    """Found while it lasts, and closed after it."""
    feed = fed(GAUSS, 700, range(640, 660))
    found = [a for a in feed.said if a.metric == "queue" and a.score >= 4.0]
    assert {a.spec for a in found} == {"odd"}
    assert found[-1].event is Event.CLOSE
    opened = found[-1]
    assert 6400 <= (opened.started - feed.detector.inputs.time) / 1000 + 6990 < 6420
    low, high = opened.expected
    assert low < 50.0 < high < 90.0
    assert len(opened.points) == 8


def test_the_raw_score_is_what_river_says():
    """River's own model beside ours."""
    values = np.random.default_rng(1).normal(10.0, 3.0, 200)
    scorer, theirs = Scorer(GAUSS, values), peer.GaussianScorer(grace_period=20)
    for value in values.tolist():
        assert scorer.take(value, teach=True) == pytest.approx(-np.log10(1.0 - theirs.score_one(None, value)))
        theirs.learn_one(None, value)


def scores(river: River, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """By its tail, of one row."""
    n, rivers = values.size, Rivers([spec_of(river)])
    judged = np.zeros(n, [("spec", "i2"), ("slot", "i4")])
    judged["slot"] = -1
    return rivers.scores(np.zeros(n, np.int32), judged, 1 + np.arange(n), values, np.ones(n, np.bool_))


@pytest.mark.parametrize("shape", ["normal", "exponential", "uniform", "lognormal"])
def test_a_score_means_the_same_whatever_the_series(shape: str):
    """By chance 3 is reached once in a thousand values; five times as often it is of a Gaussian's scores of a lognormal."""
    rng = np.random.default_rng(7)
    values = {"normal": rng.normal(size=4000), "exponential": rng.exponential(size=4000),
              "uniform": rng.random(4000), "lognormal": rng.lognormal(size=4000)}[shape]  # fmt: skip
    found = scores(GAUSS, 1e3 + 50.0 * values)
    assert np.mean(found[200:] >= 3.0) < 0.01
    assert np.mean(found[200:] >= 1.3) > 0.01


def test_another_process_goes_on_to_the_bit():
    """From a checkpoint, whose bytes are values and not objects of river's."""
    feed = fed(TREES, 270)
    other = again(feed, [gathered(feed, 1)])
    for each in (feed, other):
        each.__dict__["_announced"] = {QUEUE.hash, OTHER.hash}
        each.judged.clear()
        each.play(points(330, 270), 70.0)
    np.testing.assert_array_equal(judged(other), judged(feed))
    assert other.detector.digest() == feed.detector.digest()


def test_where_blocks_end_changes_nothing():
    """Nor when the model was made anew from its values."""
    one, many = Feed([spec_of(TREES)]), Feed([spec_of(TREES)])
    one.play(points(330), 10_000.0)
    many.play(points(330), 130.0)
    np.testing.assert_array_equal(judged(one), judged(many))


def test_other_series_are_judged_as_if_there_were_no_river():
    """To the bit."""
    plain = Feed([DEFAULT])
    plain.play(points(200), 100.0)
    np.testing.assert_array_equal(judged(fed(TREES, 200), "other"), judged(plain, "other"))


def test_rows_past_the_limit_are_judged_by_the_default_model():
    """And counted by environment and metric."""
    feed = Feed([spec_of(TREES), DEFAULT], limits=Limits(river=0))
    feed.play(points(200), 100.0)
    plain = Feed([ModelSpec(name="odd", match=(Match(metric=("queue",)),), min_duration=20.0), DEFAULT])
    plain.play(points(200), 100.0)
    np.testing.assert_array_equal(judged(feed), judged(plain))
    assert ("default", "queue", 1) in feed.detector.overflow()


def test_another_spec_of_the_same_model_keeps_what_was_learned_and_another_model_begins_anew():
    """By who the series is."""
    feed = fed(GAUSS, 100)
    longer = ModelSpec(name="odd", match=(Match(metric=("queue",)),), model=Model.RIVER, river=GAUSS, min_duration=90.0)
    for spec, seen in ((longer, 80.0), (spec_of(TREES), 0.0)):
        other = moved(feed, [spec, DEFAULT])
        assert other.detector.judge.rivers.table["river"]["seen"].max(initial=0.0) == pytest.approx(seen, abs=1.0)


def test_a_series_that_is_forgotten_gives_its_place_back():
    """To the next one."""
    rivers = Rivers([spec_of(TREES)])
    rivers.most = 1
    judged = np.array([(0, -1)], [("spec", "i2"), ("slot", "i4")])

    def ask(row: int) -> float:
        one = np.ones(1)
        return float(rivers.scores(np.array([row], np.int32), judged, one.astype(np.int64), one, one > 0)[0])

    assert np.isnan(ask(3))
    assert ask(4) == NOT_RIVER
    rivers.release(np.array([3], np.int32))
    assert np.isnan(ask(4))


def test_an_explanation_names_river_and_its_score():
    """What it says is what was judged."""
    feed = Feed([spec_of(TREES), DEFAULT])
    feed.play(points(640), 100.0)
    moments = Moments(lambda s: s.metric == "queue", feed.heard["metrics", 0] + 1)
    moments.follow(feed.detector)
    feed.play(points(641, 640, range(640, 641)))
    ((subject, moment),) = moments.found()
    told = explained(subject, moment, spec_of(TREES), 6.0)
    part = next(p for p in told.contributed if p.what == "river")
    assert moment.river is not None
    assert moment.score == moment.river.score == part.score
    assert "scored by river's HalfSpaceTrees" in part.text


@pytest.mark.parametrize("model", KNOWN)
def test_every_model_that_can_be_named_can_be_asked(model: str):
    """Of a step in noise it says more than of the noise."""
    noise = 50.0 + np.random.default_rng(2).normal(size=600)
    found = scores(River(model=model, memory=512), np.r_[noise, noise[:100] + 15.0])
    assert np.nanmax(found[600:]) > np.nanmax(found[550:600])
