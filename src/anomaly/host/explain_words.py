"""An explanation of one value's score, for a person and for a program: what was expected, what contributed, what reduced it,
and what followed.

Scores are -log10 of a probability: 3 is once in a thousand values. What reduces the score says by how much, where that is a
number; what only slows learning, or keeps an anomaly from being told, says so.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from msgspec import Struct

from anomaly.config.models import Direction, ModelSpec
from anomaly.detect import adaptive, counts
from anomaly.detect.episode import ACCEPTED, CALM, OPEN, PENDING, TOLERATED
from anomaly.detect.episodes import OPEN_AT
from anomaly.detect.explain import STATISTICS, Loss, Parts, RatioParts, is_known, leading, recombined
from anomaly.detect.moment import Moment
from anomaly.detect.river import GRACE, Said
from anomaly.detect.subject import Subject
from anomaly.dispatch.alert import Alert, What
from anomaly.dispatch.amounts import amount, band, span, unit_of
from anomaly.dispatch.words import finding
from anomaly.host.history import Case
from anomaly.host.labelled import iso, ms

SHOWN = 0.05  # of a score: less is not spoken of
WIDENED = 1.05  # of a spread: less is not either
OF = {
    "season": "{} usual deviations from what is expected at this time (one value in 36 is more than {})",
    "range": "the half-hour's mean lies {} of its range outside of the range it has had (one in 36: more than {})",
    "level": "the mean over hours is {} usual deviations from the mean over weeks (one in 36: more than {})",
    "sudden": "{} usual steps from the half-hour's mean (one in 36: more than {})",
}


class Part(Struct, frozen=True):
    """Something that made the score larger, or smaller by `score`; None where it is no number."""

    what: str
    score: float | None
    text: str


class Explanation(Struct, frozen=True, kw_only=True):
    """Everything about one value. A bound or a score that is not known is None."""

    environment: str
    group: str
    metric: str
    quantity: str
    labels: dict[str, str]
    unit: str
    spec: str
    time: str
    value: float
    expected: tuple[float | None, float | None]
    score: float | None
    learned_s: float
    contributed: list[Part]
    reduced: list[Part]
    follows: list[str]


def explained(subject: Subject, m: Moment, spec: ModelSpec, threshold: float, case: Case | None = None) -> Explanation:
    """The parts of a moment in words; `threshold` is what an alert needs, `case` the incident that was alerted about it."""
    s = subject
    unit = unit_of(s.unit, s.metric, s.quantity)
    if isinstance(m.parts, Parts) and m.river:
        contributed, reduced = list(made_by_river(m.parts, m.river, unit)), list(held_back_river(m.river))
    elif isinstance(m.parts, Parts):
        contributed, reduced = list(made(m.parts, m, unit)), list(held_back(m.parts, unit))
    else:
        contributed, reduced = list(made_of_ratio(m.parts)), list(held_back_ratio(m.parts, spec))
    if m.before["phase"] in (OPEN, PENDING):
        reduced.append(
            Part("held", None, f"an episode has begun at {when(m.before)}: the value teaches little of what is usual")
        )
    contributed += [Part("peers" if a.peers else "together", a.score, finding(a)) for a in m.beside]
    reduced += [Part("explained", None, why) for why in m.reduced]
    follow = list(follows(m, spec, threshold, unit))
    if case:
        follow += map(alerted, case.alerts)
        reduced += [Part("budget", None, why.removeprefix("budget: ")) for why in by_then(case.alerts, m.time).reduced_by]
    return Explanation(
        environment=s.environment, group=s.group, metric=s.metric, quantity=s.quantity,
        labels=dict((*s.labels, *(s.instance or ()))), unit=s.unit, spec=spec.name, time=iso(m.time), value=m.value,
        expected=(told(m.low), told(m.high)), score=told(m.score), learned_s=m.learned, contributed=contributed,
        reduced=reduced, follows=follow,
    )  # fmt: skip


def by_then(alerts: Sequence[Alert], time: int) -> Alert:
    """The last alert up to a time (ms), or the first one: what reduced an earlier one may not hold any more."""
    said = [a for a in alerts if ms(a.time) <= time]
    return said[-1] if said else alerts[0]


def told(number: float) -> float | None:
    """A number that is one."""
    return float(number) if math.isfinite(number) else None


def short(number: float) -> str:
    """Two digits, or all before the point."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.2g}"


def made(p: Parts, m: Moment, unit: str) -> Iterator[Part]:
    """What a value against its band is surprising by."""
    if not math.isfinite(p.expected):
        return
    says = f"{amount(p.expected, unit)}, where {amount(p.spread, unit)} is the usual deviation"
    if math.isfinite(p.week):
        says += f" (this half-hour of the day {amount(p.day, unit)}, these four hours of the week {amount(p.week, unit)})"
    yield Part("expected", None, says)
    for name in STATISTICS:
        far, usual, said = (getattr(p, f"{kind}{name}") for kind in ("", "usual_", "said_"))
        yield Part(name, said, OF[name].format(short(far), short(usual)))
    which, score = leading(p)
    yield Part("together", score, f"{which}, weighed, {'say' if ' and ' in which else 'says'} most")
    if p.run > SHOWN:
        yield Part("run", p.run, "the values before lie on the same side")
    if m.loss:
        yield from made_of_loss(m.loss, m.score, unit)


def made_by_river(p: Parts, r: Said, unit: str) -> Iterator[Part]:
    """What one of river's models found surprising; what is expected is the default model's."""
    if math.isfinite(p.expected):
        yield Part("expected", None, f"{amount(p.expected, unit)}, by the default model, which gives the band")
    how = f"scored by river's {r.model}: {short(r.raw)}, where one value in 36 is above {short(r.usual)}"
    yield Part("river", r.score if math.isfinite(r.score) else None, how)


def held_back_river(r: Said) -> Iterator[Part]:
    """What makes it less surprising."""
    if not math.isfinite(r.score):
        yield Part("warm-up", None, f"not known yet: {r.looks:.0f} scores of river's so far; {GRACE:.0f} are needed")
    elif r.alone > max(r.score + SHOWN, OPEN_AT):
        few = f"its tail alone would say {r.alone:.1f}; {r.looks:,.0f} looks bear {r.score:.1f}"
        yield Part("few looks", r.score - r.alone, few)


def made_of_loss(loss: Loss, score: float, unit: str) -> Iterator[Part]:
    """What the absence of traffic says beside."""
    usual = f"{band(loss.low, loss.high, unit, 1)} always come at this time of day, by the season alone"
    for what, says, text in (("loss", loss.lost, "nearly all of the traffic is gone"), ("gone", loss.gone, usual)):
        if says > SHOWN:
            yield Part(
                what, says, f"{text}; {'this decides' if says == score else 'does not decide, for it is not the most'}"
            )


def held_back(p: Parts, unit: str) -> Iterator[Part]:
    """What makes such a value less surprising."""
    if not is_known(p):
        needs = f"{adaptive.KNOWN:.0f} values are needed, {adaptive.OWN:.0f} of them its own"
        yield Part("warm-up", None, f"not known yet: {p.own:.0f} values are learned so far; {needs}")
        if not math.isfinite(p.expected):
            return
    for name in STATISTICS:
        by_itself, said = getattr(p, f"tail_{name}"), getattr(p, f"said_{name}")
        if by_itself > max(said + SHOWN, OPEN_AT):
            yield Part(
                "few looks", said - by_itself, f"{name} alone would say {by_itself:.1f}; so few looks bear {said:.1f}"
            )
    if p.spread <= p.least_spread:
        text = f"the series hardly moves: {amount(p.spread, unit)} is the least deviation that counts as one"
        yield Part("least spread", None, text)
    elif p.few > WIDENED:
        yield Part("young spread", None, f"{p.points:.0f} values: deviations are taken for {p.few:.2f} of what they were")
    if p.repeated > SHOWN:
        yield Part("repeated", -p.repeated, "so much the series surprises in every 18 hours anyhow")
    if is_known(p) and recombined(p) == 0.0 and leading(p)[1] + p.run < p.repeated:
        yield Part("floor", None, "no score is below 0")


def made_of_ratio(p: RatioParts) -> Iterator[Part]:
    """What k of n is surprising by."""
    yield Part("expected", None, f"{100 * p.usual:.2g} % of events, as learned of what is worth {p.worth:,.0f} events")
    if p.hours:
        many = f"{p.errors:,.1f} of {p.events:,.1f} events, older ones counting less"
        yield Part("hour or two", p.cell, f"{many}: five minutes bring too few")
    else:
        yield Part("cell", p.cell, f"{p.errors:,.0f} of {p.events:,.0f} events")
        many = f"{p.errors_longer:,.1f} of {p.events_longer:,.1f} events, older ones counting less"
        yield Part("five minutes", p.window, many)
    if p.bad:
        yield Part("bad level", None, "a fault whatever was usual")


def held_back_ratio(p: RatioParts, spec: ModelSpec) -> Iterator[Part]:
    """What makes it less surprising."""
    if p.events < spec.min_events and not p.bad:
        yield Part(
            "few events",
            None,
            f"{p.events:,.0f} event{'s' * (round(p.events) != 1)} say nothing; {spec.min_events:g} are put together first",
        )
    if p.cell <= 0.0 < p.window:
        yield Part("over", -p.window, "the cell itself has no more errors than is usual")
    elif max(p.cell, p.window) > counts.SUREST:
        yield Part("surest", counts.SUREST - max(p.cell, p.window), "nothing is surer than that")


def follows(m: Moment, spec: ModelSpec, threshold: float, unit: str) -> Iterator[str]:
    """What becomes of it, and why not more."""
    if not math.isfinite(m.score) and not m.bad:
        yield "nothing is said of it"
        return
    if m.score < OPEN_AT and not m.bad:
        yield f"a score below {OPEN_AT:g} begins no episode"
    elif not m.bad:
        yield from small(m, spec, unit)
    yield phase(m, spec)
    if m.after["phase"] == OPEN and not m.after["bad"] and m.after["score"] < threshold:
        yield f"no alert: its greatest score so far is {m.after['score']:.1f}, and one needs {threshold:g} (threshold.alert)"


def alerted(alert: Alert) -> str:
    """What people were told of its incident, when, and by which row of the table."""
    how = "over" if alert.event is What.RESOLVE else alert.severity.value
    return f"its incident was told at {alert.time[:19].replace('T', ' ')}: {how}, because {alert.why}"


def small(m: Moment, spec: ModelSpec, unit: str) -> Iterator[str]:
    """Why a deviation does not matter to its spec."""
    centre = 0.5 * (m.low + m.high)
    off, least = m.value - centre, max(spec.min_deviation, spec.min_relative * abs(centre))
    if (spec.direction is Direction.ABOVE and off < 0) or (spec.direction is Direction.BELOW and off > 0):
        yield f"not counted: only what is {spec.direction.value} the usual matters to spec {spec.name} (direction)"
    if abs(off) < least:
        which = f"min_deviation {spec.min_deviation:g}, min_relative {spec.min_relative:g}"
        far, needed = amount(abs(off), unit), amount(least, unit)
        yield f"not counted: {far} off the middle of what is usual, less than {needed} ({which} of spec {spec.name})"


def phase(m: Moment, spec: ModelSpec) -> str:
    """Where the episode stands."""
    before, after = int(m.before["phase"]), int(m.after["phase"])
    if after == OPEN:
        return f"an anomaly {'lasts' if before == OPEN else 'begins'}, since {when(m.after)}"
    if after == PENDING:
        lasted, needed = span(float(m.after["lasted"])), span(spec.min_duration)
        return f"an episode is to last {needed} (min_duration) before it is an anomaly; {lasted} so far"
    if after == ACCEPTED:
        return f"the episode since {when(m.after)} has lasted so long that its level is the new normal"
    if before == PENDING:
        return f"the episode since {when(m.before)} is over before it was one: {TOLERATED + 1} values were usual"
    return "the anomaly ends" if before == OPEN else "there is no anomaly" if before == CALM else "the new level is learned"


def when(episode: "np.ndarray[tuple[()], np.dtype[np.void]]") -> str:
    """When an episode began."""
    return iso(int(episode["started"]))[:19].replace("T", " ")
