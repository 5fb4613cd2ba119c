"""Does it matter: one table, first match wins, and the row says so itself.

What is silenced comes before all rows: nobody is told (`decide`). Rows still to come take their places among these: what is
inhibited, and an operator's rule come first; an SLO that burns and a probe that fails stand with what is bad. For a team in
shadow every row that rests on statistics is for the record, and says what it would have been.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from anomaly.config.models import Direction, Signal
from anomaly.detect.anomaly import GOLDEN, HEARD, LEFT, MISSED, REGRESSION, Anomaly
from anomaly.dispatch.alert import Severity
from anomaly.dispatch.budget import ALONE, HELD, PAGED, UNDER, UNLIMITED, Standing

ORDER = (Severity.INFO, Severity.WARNING, Severity.CRITICAL)


class Verdict(NamedTuple):
    """How much an incident matters, by which row of the table, and the anomaly that decided it."""

    severity: Severity
    why: str
    decisive: Anomaly
    budget: str = ""  # what it is to the alert budget
    would: Severity | None = None  # in shadow: what it would have been


class Row(NamedTuple):
    """One row: which anomalies fit, whether they need evidence above the threshold, and what follows."""

    fits: Callable[[Anomaly, Standing], bool]
    needs_evidence: bool  # what is bad, or silent, needs no statistics
    severity: Severity
    why: str
    budget: str = ""  # what an incident that it decides is to the alert budget


def is_silence(anomaly: Anomaly) -> bool:
    """The group is not heard any more."""
    return anomaly.quantity == HEARD


def is_missed(anomaly: Anomaly) -> bool:
    """No results of a check come any more: nothing is known of its service, and it is not watched."""
    return anomaly.quantity == MISSED


def is_of_few_sites(anomaly: Anomaly) -> bool:
    """A check that most of the sites that look find well, or as many: the trouble may be theirs who do not."""
    of = anomaly.breadth if anomaly.bad and not anomaly.aggregate else None
    return of is not None and 2 * of[0] <= of[1]


def is_regression(anomaly: Anomaly) -> bool:
    """A slow change against weeks ago: a ticket, whatever it is of."""
    return anomaly.kind == REGRESSION


def is_loss(anomaly: Anomaly) -> bool:
    """Traffic that stays away. More of it is no harm by itself."""
    return anomaly.signal is Signal.TRAFFIC and anomaly.direction is Direction.BELOW


def is_service_level(anomaly: Anomaly) -> bool:
    """Of a spec that says `pages: true`; of errors, latency and traffic the whole group's, to the side that is felt.

    A regression is not: there are days for it.
    """
    if is_regression(anomaly):
        return False
    if anomaly.signal in (Signal.OTHER, Signal.SATURATION):
        return anomaly.pages
    felt = anomaly.signal in (Signal.ERRORS, Signal.LATENCY) and anomaly.direction is Direction.ABOVE
    return anomaly.pages and (anomaly.aggregate or anomaly.peers > 0) and (felt or is_loss(anomaly))


def is_statistical(anomaly: Anomaly) -> bool:
    """Service-level, and nothing but statistics speaks for it: what the alert budget is about."""
    return is_service_level(anomaly) and not anomaly.bad and not is_silence(anomaly)


BAD = "{what} at or past the level that is a fault whatever was usual"
FEW = BAD + ", as {breadth[0]} of {breadth[1]} sites see it"
UNWATCHED = "no results of a check come any more: whether it would fail is not known"
WARN = "{what} at or past the level that is a ticket whatever was usual"
SILENT = "the whole group has fallen silent while its source is heard"
SERVICE = "service-level {what} above the threshold ({score}, threshold {threshold})"
SPENT = SERVICE + ", held: the alert budget is spent"
USUAL = SERVICE + ", but below what the alert budget pages for: this series, or this fleet, does such things too often"
ONCE = SERVICE + ", of one value so far: the alert budget pages for what a second one says too"
SLOW = "{what} changed slowly, against the same weekdays of weeks ago ({score}, threshold {threshold})"
ANYTHING = "{what} above the threshold ({score}, threshold {threshold}), not service-level"
SUPPORTS = ANYTHING + ", and by a spec that does not announce it: it supports what else is wrong"

IN_SHADOW = "in shadow, else {severity}: "

TABLE = (
    Row(lambda a, budget: a.bad and not is_of_few_sites(a), False, Severity.CRITICAL, BAD),
    Row(lambda a, budget: is_silence(a), False, Severity.CRITICAL, SILENT),
    Row(lambda a, budget: a.bad, False, Severity.WARNING, FEW),
    Row(lambda a, budget: is_missed(a), False, Severity.WARNING, UNWATCHED),
    Row(lambda a, budget: is_regression(a), True, Severity.WARNING, SLOW),
    # A team in shadow: from here on for the record (`verdict`).
    Row(lambda a, budget: is_service_level(a) and budget.may_page, True, Severity.CRITICAL, SERVICE, PAGED),
    Row(lambda a, budget: a.warned, False, Severity.WARNING, WARN),
    Row(lambda a, budget: is_service_level(a) and budget.above, True, Severity.WARNING, SPENT, HELD),
    Row(lambda a, budget: is_service_level(a) and a.alone, True, Severity.WARNING, ONCE, ALONE),
    Row(lambda a, budget: is_service_level(a), True, Severity.WARNING, USUAL, UNDER),
    Row(lambda a, budget: not a.supports, True, Severity.WARNING, ANYTHING),
    Row(lambda a, budget: True, True, Severity.INFO, SUPPORTS),
)


def matters(anomaly: Anomaly, threshold: float) -> bool:
    """Whether some row takes the anomaly: it can start an alert, and keeps it from being resolved.

    The last row takes whatever is above the threshold, so only the rows that need no evidence are asked besides. Written out
    because it is asked for every anomaly of an incident at each event.
    """
    return anomaly.score >= threshold or anomaly.bad or anomaly.warned or anomaly.quantity in (HEARD, MISSED)


def verdict(
    anomalies: Sequence[Anomaly], threshold: float, budget: Standing = UNLIMITED, shadow: bool = False
) -> Verdict | None:
    """The first row that takes one of the anomalies, and of these the most surprising; None below the threshold.

    `shadow`: statistics alone may not page the team.
    """
    for row in TABLE:
        evident = [a for a in anomalies if a.score >= threshold] if row.needs_evidence else anomalies
        fitting = [a for a in evident if row.fits(a, budget)]
        if fitting:
            decisive = max(fitting, key=lambda a: (a.score, a.id))
            why = reason(row, decisive, threshold)
            if shadow and row.needs_evidence:
                why = IN_SHADOW.format(severity=row.severity.value) + why
                return Verdict(Severity.INFO, why, decisive, row.budget, row.severity)
            return Verdict(row.severity, why, decisive, row.budget)
    return None


def louder(one: str, other: str) -> str:
    """The greater of two severities; "" is less than any."""
    return max(one, other, key=lambda s: ORDER.index(Severity(s)) if s else -1)


def reason(row: Row, anomaly: Anomaly, threshold: float) -> str:
    """The row in plain words."""
    score, breadth = f"evidence {anomaly.score:.1f}", anomaly.breadth or (0, 0)
    return row.why.format(what=kind(anomaly), score=score, threshold=f"{threshold:g}", breadth=breadth)


def kind(anomaly: Anomaly) -> str:
    """The kind of trouble in a word or two."""
    if anomaly.quantity == GOLDEN:
        return "change of the golden signals together"
    if anomaly.quantity == LEFT:
        return LEFT
    if anomaly.signal is Signal.TRAFFIC:
        return "loss of traffic" if is_loss(anomaly) else "a rise of traffic"
    return "a change" if anomaly.signal is Signal.OTHER else anomaly.signal.value


def rank(anomaly: Anomaly) -> int:
    """How telling an anomaly is by its kind, 0 the most: what users feel and cannot be explained away comes first."""
    ladder = (
        is_silence(anomaly),
        anomaly.signal is Signal.ERRORS,
        anomaly.signal is Signal.LATENCY,
        is_loss(anomaly),
        anomaly.signal is Signal.SATURATION,
    )
    return ladder.index(True) if True in ladder else len(ladder)


def most_telling(anomalies: Sequence[Anomaly], threshold: float) -> list[Anomaly]:
    """In the order in which a person should read them: what matters, what lasts, what tells most, then by surprise."""
    return sorted(
        anomalies,
        key=lambda a: (
            not matters(a, threshold), a.ended is not None, not a.bad, is_of_few_sites(a), rank(a), not a.aggregate,
            -a.score, a.started, a.id,
        ),
    )  # fmt: skip
