"""The alert budget: at most so many new pages a week that rest on statistics alone. A ceiling, not a quota.

It is asked of a service-level anomaly that has the evidence of `threshold.alert`: has it the evidence that a page needs
under this budget, does it surprise enough (`offenders`), measured by what this fleet does (`tail`) and by what has been
happening of late (the feedback), and is a page left (`bucket`)? Whatever needs no statistics (a `bad` level, a silence) is
not asked about, and is taken back where it had been counted: confirmed faults must not raise the threshold.

The evidence keeps usual weeks without pages: of values against a band a whole fleet reaches a score of 6 many times a week
in which nothing is wrong. Two things are asked. That a second value says so: of what fault-free noise does, most is over
with the first. And that it weighs enough, in decades of a rate: the surprise says how rare it is by what the series did
before, the score by its model, for less than it claims, and how many times its band it is away what the model's cap by its
looks took from the score. The floor rises with the number of series, any of which may do so by chance, and sinks with the
budget. It is a number, not learned from the fleet: tails of the surprise and of the peaks took a fleet's faults for what is
usual there, and paged for none. Of k of n scores mean what they say.
The threshold is the greater of what comes B times a week, whatever it is, and of a rate per series at which nobody wants to
be woken. Before a fleet has had some incidents there is neither, and `threshold.alert` and the bucket decide.

The feedback: each incident that came above the threshold, paged or held, raises it and the floor by STEP / B decades, and a
week lowers them by STEP, between 0 and MOST. At B a week the two are equal.

All on event time, which only goes on; each environment, or team, has a budget of its own.
"""

from typing import NamedTuple

from msgspec import Struct, field

from anomaly.correlate.incident import Incident
from anomaly.detect.anomaly import Anomaly
from anomaly.dispatch.bucket import WEEK_MS, Bucket
from anomaly.dispatch.forget import HOUR_MS, kept_after, log10
from anomaly.dispatch.offenders import Offenders
from anomaly.dispatch.tail import ENOUGH, Tail

STEP, MOST = 0.5, 1.0  # decades
LEAST = 0.75  # decades: what a series does more often than every six weeks is no page
# Of the rate at which fleets come to a score in which nothing is wrong a decade is three of the score's own.
WORTH, AWAY = 1.0 / 3.0, 0.5  # decades of a rate that a decade of a score is worth, and one of the distance in bands
FARTHEST = 16.0  # half a band's widths: the band of a constant is next to nothing, and nothing is far from it
FLOOR, STEEP = 4.2, 1.1  # decades: what a page weighs, of a page a week and series, and more for a tenth as many
FLEET = 200  # series that a fleet is taken for at least
COUNTED = 6.0  # score that k of n needs
DAY_MS, DAYS = 86_400_000, 7
SCALE = tuple(n * 10.0**k for k in range(-1, 5) for n in (1.0, 3.0))  # budgets that are compared with

# What an incident is to its budget, noted in `told.budget`.
PAGED, HELD, UNDER, FAULT = "paged", "held", "under", "fault"
ALONE = "alone"  # under, for want of a second value


class Standing(NamedTuple):
    """What the budget says of an anomaly: is it above the threshold, and may it page now?"""

    above: bool
    may_page: bool


UNLIMITED = Standing(above=True, may_page=True)


class Day(Struct):
    """What was counted on a day of event time."""

    day: int
    paged: int = 0
    held: int = 0
    under: int = 0


class Ledger(Struct):
    """All that one budget knows but for its series."""

    bucket: Bucket = field(default_factory=Bucket)
    tail: Tail = field(default_factory=Tail)
    raised: float = 0.0  # by the feedback, decades
    time: int = 0  # ms: how far it went on
    hour: int = 0  # the last hour that was faded in
    days: list[Day] = field(default_factory=list)
    threshold: float = -float("inf")
    met: float = 0.0  # incidents, faded


class Other(NamedTuple):
    """What another budget would have paged, by the counts of now: its threshold without the feedback, and pages a week."""

    per_week: float
    threshold: float
    paged: float


class Reading(NamedTuple):
    """What an operator is shown. Counts are of the last seven days; rates per week; the threshold in decades of a rate."""

    environment: str
    name: str
    per_week: float
    left: float
    paged: int
    held: int
    under: int
    threshold: float
    evidence: float
    raised: float
    rate: float
    series: int
    others: tuple[Other, ...]  # the next lower and the next higher budget


class Budget:
    """One budget of `per_week` pages. `step`: of the feedback, 0 for none."""

    def __init__(
        self, per_week: float, step: float = STEP, ledger: Ledger | None = None, offenders: Offenders | None = None
    ):
        self.per_week, self._step = per_week, step
        self.ledger, self.offenders = ledger or Ledger(), offenders or Offenders()

    def note(self, incident: Incident, anomaly: Anomaly) -> None:
        """Learn from an anomaly that statistics speak for; called at each of its events, before it is judged."""
        self.go_on(incident.time)
        told = incident.told
        if told.budget == FAULT:
            self.offenders.withdraw(anomaly)
            return
        surprise = self.offenders.meet(anomaly)
        told.surprise = max(surprise, told.surprise) if told.peak else surprise
        self.ledger.met += told.peak == 0.0
        told.peak = max(anomaly.score, told.peak)
        told.evident |= self._is_evident(anomaly, surprise)
        if told.evident:
            told.reached = self.ledger.tail.reach(told.surprise, told.reached)

    def standing(self, incident: Incident) -> Standing:
        """Whether the incident surprises enough for a page, and whether one is left. One that has paged needs no other."""
        if incident.told.budget in (PAGED, FAULT):
            return UNLIMITED
        told, threshold = incident.told, self.ledger.threshold + self.ledger.raised
        above = told.evident and told.surprise >= threshold
        return Standing(above, above and self.ledger.bucket.has_one)

    def settle(self, incident: Incident, outcome: str) -> None:
        """What came of it: PAGED, HELD, UNDER or ALONE. An incident is counted once as each of them, and feeds once."""
        before, counted = incident.told.budget, UNDER if outcome == ALONE else outcome
        if outcome == before or before in (PAGED, FAULT) or (counted == UNDER and before == HELD):
            return
        incident.told.budget = outcome
        if counted == UNDER and before in (UNDER, ALONE):  # only why it is under has changed
            return
        today = self._today()
        setattr(today, counted, getattr(today, counted) + 1)
        if outcome == PAGED:
            self.ledger.bucket.take()
        if outcome in (PAGED, HELD) and before != HELD:
            self._raise(self._step / self.per_week)

    def confirm(self, incident: Incident, anomaly: Anomaly) -> None:
        """It needs no statistics any more, and is no example of what is usual: what it cost comes back."""
        self.go_on(incident.time)
        told = incident.told
        self.offenders.withdraw(anomaly)
        if told.budget == FAULT:
            return
        self.ledger.tail.withdraw(told.reached)
        if told.budget in (PAGED, HELD):
            self._raise(-self._step / self.per_week)
        if told.budget == PAGED:
            self.ledger.bucket.give_back()
        told.budget, told.reached = FAULT, 0

    def go_on(self, time: int) -> None:
        """Event time went on: pages come back, the feedback sinks, counts fade, and by the hour the threshold follows."""
        ledger = self.ledger
        ledger.bucket.refill(self.per_week, time)
        if ledger.time:
            self._raise(-self._step * max(time - ledger.time, 0) / WEEK_MS)
        ledger.time = max(time, ledger.time)
        hour = ledger.time // HOUR_MS
        if hour > ledger.hour:
            gone = hour - ledger.hour if ledger.hour else 0
            ledger.hour = hour
            ledger.tail.fade(gone)
            ledger.met *= kept_after(gone)
            self.offenders.fade(gone)
            ledger.threshold = self._threshold(self.per_week)

    def reading(self, environment: str, name: str) -> Reading:
        """As it stands."""
        ledger = self.ledger
        threshold = ledger.threshold + ledger.raised
        paged, held, under = (sum(getattr(day, what) for day in ledger.days) for what in (PAGED, HELD, UNDER))
        return Reading(
            environment, name, self.per_week, ledger.bucket.left, paged, held, under, threshold,
            self._least(max(threshold, LEAST)), ledger.raised, ledger.tail.rate(threshold), len(self.offenders),
            self._others(),
        )  # fmt: skip

    def _others(self) -> tuple[Other, ...]:
        """One step down and one up the scale of budgets."""
        lower = max((b for b in SCALE if b < self.per_week), default=None)
        higher = min((b for b in SCALE if b > self.per_week), default=None)
        return tuple(self._other(b) for b in (lower, higher) if b)

    def _other(self, per_week: float) -> Other:
        threshold = self._threshold(per_week)
        return Other(per_week, threshold, min(self.ledger.tail.rate(threshold), per_week))

    def _threshold(self, per_week: float) -> float:
        """The surprise that a page needs, without the feedback."""
        tail = self.ledger.tail
        return max(tail.ceiling(per_week), LEAST) if self.ledger.met >= ENOUGH else -float("inf")

    def _is_evident(self, anomaly: Anomaly, surprise: float) -> bool:
        """Whether the anomaly is evidence enough for a page."""
        if anomaly.alone:
            return False
        least = COUNTED if anomaly.events is not None else self._least(surprise + AWAY * log10(bands(anomaly)))
        return anomaly.score >= least

    def _least(self, decades: float) -> float:
        """The score that a page needs about a value, if what else speaks for it weighs so much."""
        if self.ledger.met < ENOUGH:
            return COUNTED
        needed = floor(self.per_week, len(self.offenders)) + self.ledger.raised
        return max((needed - decades) / WORTH, COUNTED)

    def _raise(self, by: float) -> None:
        self.ledger.raised = min(max(self.ledger.raised + by, 0.0), MOST)

    def _today(self) -> Day:
        """The count of this day; older ones than a week are dropped."""
        days, day = self.ledger.days, self.ledger.time // DAY_MS
        if not days or days[-1].day < day:
            days.append(Day(day))
            self.ledger.days = [d for d in days if d.day > day - DAYS]
        return self.ledger.days[-1]


def floor(per_week: float, series: int) -> float:
    """What a page about a value needs to weigh, in decades, under a budget that so many series share."""
    return FLOOR + STEEP * log10(max(series, FLEET) / max(per_week, 1.0))


def bands(anomaly: Anomaly) -> float:
    """How far from the middle of what was expected its peak is, in halves of the band: from 1 to FARTHEST."""
    low, high = anomaly.expected
    off, half = abs(anomaly.observed - 0.5 * (low + high)), 0.5 * (high - low)
    return FARTHEST if off >= FARTHEST * half else max(off / half, 1.0)
