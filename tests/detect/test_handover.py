"""A group on another partition: it is judged there as if it had always been."""

import numpy as np
from tests.detect.feed import Feed, P, ms, series
from tests.detect.test_detector import SPECS, STORY
from tests.detect.test_migrate import learned

from anomaly.decode.points import Kind
from anomaly.detect.anomaly import Event
from anomaly.detect.episode import OPEN
from anomaly.detect.handover import hand_over

SOURCE, THERE = "metrics", 7  # the partition that groups move to
SHOP = next(p.series for p in STORY if p.series.group == "shop")
OTHERS = [series("load", host=h, service="other-hosts", instance=h) for h in "xyz"]


def others(begin: int, end: int) -> list[P]:
    """A group that is on the other partition from the beginning."""
    rng = np.random.default_rng(begin)
    return [P(s, t + 0.1 * i, float(rng.normal(5.0, 1.0))) for t in range(begin, end) for i, s in enumerate(OTHERS)]


def until(second: float) -> int:
    """The place in the story of the first point at or after a second."""
    return next(i for i, p in enumerate(STORY) if p.at >= second)


def of_shop(feed: Feed) -> list[tuple[object, ...]]:
    """What is said of the group from now on; of the evidence the points may begin elsewhere."""
    return [(a.id, a.event, a.time, a.score, a.observed, a.reason) for a in feed.said if a.group == "shop"]


def receiver(second: float) -> Feed:
    """A detector of another partition, which knows others."""
    feed = Feed(SPECS)
    for p in others(0, int(second)):
        feed.send(p, partition=THERE)
    return feed


def groups(*some: P) -> np.ndarray:
    """Their hashes."""
    return np.unique(np.array([p.series.group_hash for p in some], np.uint64))


def moved(second: float) -> tuple[Feed, Feed, Feed]:
    """Undisturbed; the one that the shop leaves at a second; and the one that it comes to."""
    at = until(second)
    whole, before, after = Feed(SPECS), Feed(SPECS), receiver(second)
    whole.play(STORY[:at])
    before.play(STORY[:at])
    hand_over(before.detector, after.detector, groups(P(SHOP, 0, 0)), SOURCE, THERE)
    return whole, before, after


def play_on(whole: Feed, after: Feed, second: float) -> None:
    """The rest of the story, the shop's part of it on the partition where it is now."""
    at = until(second)
    n = len(whole.said)
    whole.play(STORY[at:])
    whole.said = whole.said[n:]
    for s in {p.series.hash for p in STORY if p.series.group == "shop"}:
        after._announced.add(s)
    mine = [p for p in STORY[at:] if p.series.group == "shop"]
    for p in sorted([*mine, *others(int(second), 260)], key=lambda p: p.at):
        after.send(p, partition=THERE)


def models(feed: Feed) -> dict[tuple[object, ...], bytes]:
    """What was learned of the shop."""
    return {key: model for key, model in learned(feed).items() if key[1] == "shop"}


def test_a_group_that_moves_is_judged_as_if_it_had_stayed() -> None:
    """Histograms, rates and ratios: to the last digit what an undisturbed partition says of a fault that comes later."""
    whole, before, after = moved(120)
    assert models(after) == models(before)
    play_on(whole, after, 120)

    assert of_shop(after) == of_shop(whole) != []
    assert models(after) == models(whole)
    assert {a.group for a in after.said} == {"shop"}, "nobody else is said to be ill"


def test_what_is_open_stays_open_under_its_name_and_ends_once() -> None:
    """It moves in the middle of the fault."""
    whole, before, after = moved(170)
    opened = {a.id for a in before.detector.report.open.values() if a.group == "shop"}
    assert opened
    assert {a.id for a in after.detector.report.open.values()} == opened
    play_on(whole, after, 170)

    assert of_shop(after) == of_shop(whole)
    assert {a.id for a in after.said if a.event is Event.CLOSE and a.group == "shop"} >= opened
    assert not {a.id for a in after.said if a.event is Event.OPEN and a.group == "shop"} & opened


def test_a_silent_group_ends_its_silence_where_it_is_heard_again() -> None:
    """And until then it is not told as silent again."""
    counter, other = series("d", Kind.COUNTER, service="shop"), series("d", Kind.COUNTER, service="other")
    before, after = Feed(SPECS), receiver(400)
    before.play(P(s, t, 10.0 * t) for t in range(200) for s in (counter, other))
    before.play(P(other, t, 10.0 * t) for t in range(200, 400))
    (silent,) = [a for a in before.said if a.quantity == "heard"]
    hand_over(before.detector, after.detector, groups(P(counter, 0, 0)), SOURCE, THERE)
    for t in range(400, 600):
        after.send(P(counter, t, 10.0 * t), *others(t, t + 1), partition=THERE)

    ended = [a for a in after.said if a.quantity == "heard"]
    assert [(a.id, a.event, a.ended) for a in ended] == [(silent.id, Event.CLOSE, ms(400))]


def test_what_moved_is_kept_with_the_rest() -> None:
    """A checkpoint after it holds it, and the one that gave it is what it was, to the bit."""
    at = until(170)
    before, same, after = Feed(SPECS), Feed(SPECS), receiver(170)
    before.play(STORY[:at])
    same.play(STORY[:at])
    first = after.detector.gather(1)
    hand_over(before.detector, after.detector, groups(P(SHOP, 0, 0)), SOURCE, THERE)
    assert before.detector.digest() == same.detector.digest()

    restored, second = Feed(SPECS), after.detector.gather(2)
    restored.detector.put(1, first.parts, after.detector.layouts())
    restored.detector.put(2, second.parts, after.detector.layouts())
    restored.detector.settle(second.rest)
    assert restored.detector.digest() == after.detector.digest()


def test_whoever_left_is_not_missed_and_says_his_ends_when_it_is_sure() -> None:
    """The partition that groups leave: silent about them, until ten minutes later what is open of them ends there."""
    at = until(170)
    feed = Feed(SPECS)
    feed.play(STORY[:at])
    opened = {a.id for a in feed.detector.report.open.values() if a.group == "shop"}
    feed.detector.absence.settled = ms(300)
    stays = series("d", Kind.COUNTER, service="stays")
    n = len(feed.said)
    feed.play(P(stays, t, 10.0 * t) for t in range(170, 700))
    assert feed.said[n:] == []

    feed.play(P(stays, t, 10.0 * t) for t in range(700, 1200))
    ended = [a for a in feed.said[n:] if a.group == "shop"]
    assert opened <= {a.id for a in ended}
    assert {(a.event, a.reason) for a in ended} == {(Event.CLOSE, "series ended")}
    assert not [a for a in feed.said if a.quantity == "heard"]


def test_who_is_heard_after_it_settled_is_missed_as_ever() -> None:
    """Only those who left are not waited for."""
    feed = Feed(SPECS)
    shop, other = series("d", Kind.COUNTER, service="shop"), series("d", Kind.COUNTER, service="other")
    feed.detector.absence.settled = ms(250)
    feed.play(P(s, t, 10.0 * t) for t in range(300) for s in (shop, other))
    feed.play(P(other, t, 10.0 * t) for t in range(300, 400))
    assert [(a.group, a.event) for a in feed.said if a.quantity == "heard"] == [("shop", Event.OPEN)]


def test_after_a_restart_without_a_checkpoint_who_was_not_heard_yet_has_not_left() -> None:
    """What was open is known from its notes; a look that comes before the first point ends nothing."""
    feed, again = Feed(SPECS), Feed(SPECS)
    feed.play(STORY[: until(170)])
    opened = [a for a in feed.detector.report.open.values() if a.group == "shop"]
    again.detector.restore(opened)
    (late, *_) = [p for p in STORY[until(170) :] if p.series.group == "shop"]
    again.send(*others(160, 170), late._replace(at=170.0))
    assert not [a for a in again.said if a.event is Event.CLOSE]


def test_who_has_learned_is_not_taken_for_new_where_his_group_is_ill_from_before_a_restart() -> None:
    """Rows that begin in such a group are withheld: these have begun long ago."""
    at = until(170)
    before, after = Feed(SPECS), receiver(170)
    before.play(STORY[:at])
    live = before.detector.judge.episodes.live
    live["until"][live["phase"] == OPEN] = ms(160)  # as a restart without a checkpoint leaves them
    hand_over(before.detector, after.detector, groups(P(SHOP, 0, 0)), SOURCE, THERE)
    after.send(P(series("new", service="shop"), 170.0, 1.0), partition=THERE)

    subjects = after.detector.register.subjects
    withheld = after.detector.register.tables.subjects["subject"]["withheld"][: len(subjects)]
    assert {subjects[r].metric for r in np.flatnonzero(withheld).tolist()} == {"new"}
