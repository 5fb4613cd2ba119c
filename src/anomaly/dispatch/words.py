"""What an alert says, as the person on call reads it at night: what is wrong, since when, how far off, how sure, and why.

Names come from telemetry and are not trusted: control characters are taken out, and what is long is cut.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from anomaly.config.models import Signal
from anomaly.correlate.incident import Incident, State
from anomaly.detect.anomaly import Anomaly
from anomaly.dispatch.amounts import amount, band, beside, compared, known, plain, span, sparkline, unit_of
from anomaly.dispatch.operations import operation, spoken
from anomaly.dispatch.severity import REMOVED, is_silence

TITLE = 100  # characters: one line of a phone
SHOWN = 5  # anomalies in the text and the evidence
NAME = 48  # characters of a name within a sentence
MISSED = 10  # usual intervals without a sign of life that leave little doubt
DAY, YOUNG = 86_400.0, 600.0  # seconds of learning from which on we are sure of a daily rhythm, and under which of little
HARDLY, SURE = 1.2, 1.5  # times the threshold

LASTS = "lasts, now taken as normal,"  # how an incident may end
PHRASES = {"value": "{metric}", "rate": "rate of {metric}"}


def rfc3339(time: int) -> str:
    """`2026-01-01T09:03:20Z`, with milliseconds where there are some."""
    moment = datetime.fromtimestamp(time / 1000, UTC)
    return moment.isoformat(timespec="milliseconds" if time % 1000 else "seconds").replace("+00:00", "Z")


def clock(time: int, now: int) -> str:
    """`09:03:20`, `09:03` on the minute, and with its date where that is not today's."""
    moment = datetime.fromtimestamp(time / 1000, UTC)
    today = moment.date() == datetime.fromtimestamp(now / 1000, UTC).date()
    return moment.strftime(("" if today else "%Y-%m-%d ") + ("%H:%M:%S" if moment.second else "%H:%M"))


def title(incident: Incident, leading: Anomaly, since: int) -> str:
    """One line: who, what, compared with what, since when."""
    group = plain(incident.group, NAME)
    if incident.state is State.RESOLVED:
        lasted = span(((incident.quiet_since or incident.time) - since) / 1000)
        return plain(f"{group}: {outcome(incident)} after {lasted} (was: {finding(leading)})", TITLE)
    tail = f" since {clock(since, incident.time)} UTC"
    return plain(f"{group}: {finding(leading)}", TITLE - len(tail)) + tail


def finding(anomaly: Anomaly) -> str:
    """What is wrong with one series, in a sentence without a full stop."""
    unit = unit_of(anomaly.unit, anomaly.metric, anomaly.quantity)
    if is_silence(anomaly):
        return f"silent for {span(anomaly.observed)} (usually heard every {span(anomaly.expected[1])})"
    value, usual = compared(anomaly.observed, *anomaly.expected, unit)
    return f"{subject(anomaly)}{value}{' of requests fail' if anomaly.quantity == 'error ratio' else ''} (usual {usual})"


def subject(anomaly: Anomaly) -> str:
    """What is measured, and where if it is not the whole group; the value follows."""
    where = place(anomaly) + operation(anomaly)
    if anomaly.quantity == "error ratio":
        return where
    if anomaly.signal is Signal.TRAFFIC and anomaly.quantity == "rate":
        return f"{where}traffic "
    if anomaly.quantity == "value" and anomaly.metric == anomaly.group:
        return where  # a file of one column: its name has been said
    phrase = PHRASES.get(anomaly.quantity, f"{plain(anomaly.quantity, NAME)} of {{metric}}")
    return f"{where}{phrase.format(metric=plain(spoken(anomaly.metric), NAME))} is "


def place(anomaly: Anomaly) -> str:
    """`pod-3, ` for a single instance; nothing for the group."""
    if anomaly.aggregate or not anomaly.instance:
        return ""
    return f"{plain(anomaly.instance[-1][1], 24)}, "


def outcome(incident: Incident) -> str:
    """How the incident ended."""
    reasons = [a.reason for a in incident.anomalies.values() if a.reason]
    if reasons and all(r == REMOVED for r in reasons):
        return "its series were removed"
    if reasons and all(r in ("new normal", REMOVED) for r in reasons):
        return LASTS
    return "back to normal"


def how_far(anomaly: Anomaly) -> str:
    """The distance from the usual band, where a factor says more than the numbers."""
    low, high = anomaly.expected
    if not beside(high, anomaly.observed):
        return ""  # no factor of nothing
    if known(high) and high > 0 and anomaly.observed >= 1.5 * high:
        return f"{times(anomaly.observed / high)} the most that is usual"
    if known(low) and low > 0 and 0 <= anomaly.observed < low:
        return f"{100 * (1 - anomaly.observed / low):.0f} % below the least that is usual"
    return ""


def times(factor: float) -> str:
    """A factor as one says it."""
    return f"{factor:.1f} times" if factor < 10 else f"{factor:,.0f} times" if factor < 1000 else "over 1,000 times"


def confidence(leading: Anomaly, threshold: float) -> str:
    """How sure we are, and on what ground. What is bad whatever was usual needs no learning, and silence no statistics."""
    if is_silence(leading):
        missed = leading.observed / max(leading.expected[1], 1.0)
        return f"{'high' if missed >= MISSED else 'medium'}: nothing heard {missed:,.0f} times as long as usual"
    surprise, learned = leading.score / threshold, span(leading.learned)
    if leading.bad or (leading.learned >= DAY and surprise >= SURE):
        level, but = "high", ""
    elif surprise < HARDLY:
        level, but = "low", "hardly above the threshold; "
    else:
        level = "low" if leading.learned < YOUNG else "medium"
        but = "not far above the threshold; " if surprise < SURE else ""
        learned = f"only {learned}" if leading.learned < DAY else learned
    events = f"{leading.events[0]:,.0f} of {leading.events[1]:,.0f} requests; " if leading.events else ""
    return f"{level}: {events}{but}learned {learned}"


def line(anomaly: Anomaly) -> str:
    """One anomaly as evidence: what, where in full, how far, and since when or how long."""
    labels = ", ".join(f"{plain(k, NAME)}={plain(v, NAME)}" for k, v in (*anomaly.labels, *anomaly.instance))
    metric = "" if is_silence(anomaly) or subject(anomaly).endswith("is ") else f" — {plain(anomaly.metric, NAME)}"
    lasted = f", over after {span((anomaly.ended - anomaly.started) / 1000)}" if anomaly.ended is not None else ""
    parts = [f"{finding(anomaly)}{metric}", how_far(anomaly), f"since {rfc3339(anomaly.started)}{lasted}"]
    return "; ".join(p for p in parts if p) + (f" [{plain(labels, 160)}]" if labels else "")


def body(
    incident: Incident,
    telling: Sequence[Anomaly],
    since: int,
    why: str,
    sure: str,
    news: str,
    links: Iterable[tuple[str, str]],
) -> str:
    """The whole message, a block of lines."""
    leading = telling[0]
    over = incident.state is State.RESOLVED
    lasts = over and outcome(incident) == LASTS
    lead = f"{finding(leading)}."
    if over:
        how = "It lasts, and is taken as normal from now on" if lasts else f"It is over: {outcome(incident)}"
        lead, why = f"{how}. It was: {lead}", "it has lasted so long that this is the new normal" if lasts else why
    seconds = ((incident.quiet_since or incident.time) - since) / 1000
    lasted = f"lasted {span(seconds)}" if over else f"for {span(seconds)}" if seconds >= 1.0 else "just begun"
    head = [
        f"{plain(incident.group, NAME)} ({plain(incident.environment, NAME)}): {lead}",
        "",
        f"since     {rfc3339(since)}, {lasted}",
        *([f"how far   {far}"] if (far := how_far(leading)) else []),
        *([] if over else [f"now       {now(leading)}", f"how sure  {sure}"]),
        f"why       {why}",
        *([f"changed   {news}"] if news else []),
        "",
    ]
    return "\n".join([*head, *evidence(incident, telling), *[f"{name}: {url}" for name, url in links]]).rstrip()


def now(anomaly: Anomaly) -> str:
    """The value when this was written."""
    unit = unit_of(anomaly.unit, anomaly.metric, anomaly.quantity)
    if is_silence(anomaly):
        return f"nothing heard for {span(anomaly.current)}"
    low, high = (beside(bound, anomaly.observed) for bound in anomaly.expected)
    return f"{amount(anomaly.current, unit)}, usual {band(low, high, unit)}"


def evidence(incident: Incident, telling: Sequence[Anomaly]) -> list[str]:
    """The strongest anomalies, a line each with its last points drawn, and how many there are besides."""
    lines = ["evidence"]
    for anomaly in telling[:SHOWN]:
        drawn = sparkline([v for _, v in anomaly.points], *anomaly.expected)
        lines.append(f"  - {line(anomaly)}" + (f"  {drawn}" if drawn else ""))
    others = len(telling) + incident.more - min(len(telling), SHOWN)
    return [*lines, *([f"  and {others:,} more"] if others else []), ""]
