"""What an alert says, as the person on call reads it at night: what is wrong, since when, how far off, how sure, and why.

Names come from telemetry and are not trusted: control characters are taken out, and what is long is cut.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from anomaly.config.models import Signal
from anomaly.correlate.incident import Incident, State
from anomaly.detect.anomaly import AMONG, BACK_TO_NORMAL, GOLDEN, LEFT, NEW_NORMAL, REMOVED, Anomaly
from anomaly.detect.joint import AWRY
from anomaly.detect.odd import UNSEEN
from anomaly.dispatch import cause_words, probe_words, step_words
from anomaly.dispatch.amounts import RATIO, amount, band, beside, compared, known, plain, span, sparkline, unit_of
from anomaly.dispatch.log_words import example, is_lines
from anomaly.dispatch.log_words import subject as lines
from anomaly.dispatch.operations import operation, spoken
from anomaly.dispatch.severity import is_missed, is_regression, is_silence

TITLE = 100  # characters: one line of a phone
LIKELY, USUAL = 28, " (usual"  # characters of the likely cause in it, at least; what makes room for it
SHOWN = 5  # anomalies in the text and the evidence
NAME = 48  # characters of a name within a sentence
MISSED = 10  # usual intervals without a sign of life that leave little doubt
NEARLY_NONE = 0.2  # share of the most that is usual
WEEK = 604_800_000  # ms
DAY, YOUNG = 86_400.0, 600.0  # seconds of learning from which on we are sure of a daily rhythm, and under which of little
HARDLY, SURE = 1.2, 1.5  # times the threshold

NOT_SEEN = "not seen any more"
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
    group = plain(leading.group, NAME)
    if incident.state is State.RESOLVED:
        lasted = span(((incident.quiet_since or incident.time) - since) / 1000)
        return plain(f"{group}: {outcome(incident)} after {lasted} (was: {finding(leading)})", TITLE)
    if is_regression(leading) or leading.quantity == LEFT:
        return plain(f"{group}: {finding(leading)}", TITLE)
    tail = f" since {clock(since, incident.time)} UTC"
    head = f"{group}: {finding(leading)}"
    if likely := cause_words.briefly(incident, leading):
        head, link = head.partition(USUAL)[0], "; likely cause: "
        tail = link + plain(likely, max(LIKELY, TITLE - len(head) - len(link) - len(tail))) + tail
    return plain(head, TITLE - len(tail)) + tail


def finding(anomaly: Anomaly) -> str:
    """What is wrong with one series, in a sentence without a full stop."""
    unit = unit_of(anomaly.unit, anomaly.metric, what(anomaly))
    if is_silence(anomaly):
        return f"silent for {span(anomaly.observed)} (usually heard every {span(anomaly.expected[1])})"
    if probe_words.is_told(anomaly):
        return probe_words.finding(anomaly)
    if anomaly.quantity == GOLDEN:
        return together(anomaly)
    if is_regression(anomaly):
        return f"{subject(anomaly)}{slowly(anomaly, unit)}"
    if step_words.is_steps(anomaly):
        return step_words.finding(anomaly)
    value, usual = compared(anomaly.observed, *anomaly.expected, unit)
    if anomaly.peers:
        return f"{subject(anomaly)}{value}{of_requests(anomaly)}, {against(anomaly, unit)}"
    return f"{subject(anomaly)}{value}{of_requests(anomaly)} (usual {usual}){breadth(anomaly)}"


def together(anomaly: Anomaly) -> str:
    """`latency is up (4.2) while traffic is down (3.1), usual deviations: odd together`; what drives it first."""
    odd = [(name, far) for name, far in anomaly.parts if abs(far) >= AWRY] or list(anomaly.parts[:1])
    said = [f"{name} is {'up' if far > 0 else 'down'} ({abs(far):.1f} usual deviations)" for name, far in odd]
    opposed = len(odd) > 1 and (odd[0][1] > 0) != (odd[1][1] > 0)
    whole = " and ".join(said).replace(" usual deviations", "").replace(" and ", " while " if opposed else " and ", 1)
    return f"{whole}, usual deviations: odd together" if len(odd) > 1 else said[0]


def of_requests(anomaly: Anomaly) -> str:
    """What a share is of."""
    return " of requests fail" if what(anomaly) == "error ratio" else ""


def what(anomaly: Anomaly) -> str:
    """The quantity, of an instance among its peers as of any."""
    return anomaly.quantity.removesuffix(AMONG)


def against(anomaly: Anomaly, unit: str) -> str:
    """`3.2 times its 11 peers (60–200 ms)`; where their middle is next to nothing, a factor of it says nothing."""
    middle, high, usual = anomaly.middle, anomaly.expected[1], band(*anomaly.expected, unit)
    if 0 < middle < NEARLY_NONE * high < NEARLY_NONE * anomaly.observed:
        return f"{times(anomaly.observed / high)} the most of its {anomaly.peers} peers ({usual})"
    if middle > 0 and anomaly.observed >= 1.5 * middle:
        return f"{times(anomaly.observed / middle)} its {anomaly.peers} peers ({usual})"
    if middle > 0 and 0 <= anomaly.observed < middle:
        return f"{100 * (1 - anomaly.observed / middle):.0f} % below its {anomaly.peers} peers ({usual})"
    return f"unlike its {anomaly.peers} peers ({usual})"


def breadth(anomaly: Anomaly) -> str:
    """`, 27 of 30 instances`, of what a group has in common, and of a check that several make."""
    of = "instances" if anomaly.aggregate else "sites"
    return f", {anomaly.breadth[0]} of {anomaly.breadth[1]} {of}" if anomaly.breadth else ""


def slowly(anomaly: Anomaly, unit: str) -> str:
    """`430 ms, 4 weeks ago 300 ms`."""
    (then, before), (end, _) = anomaly.points[0], anomaly.points[-1]
    weeks = round((end - then) / WEEK)
    fail = " of requests fail" if anomaly.quantity == "error ratio" else ""
    ago = "a week" if weeks == 1 else f"{weeks} weeks"
    return f"{amount(anomaly.observed, unit)}{fail}, {ago} ago {amount(before, unit)}"


def subject(anomaly: Anomaly) -> str:
    """What is measured, and where if it is not the whole group; the value follows."""
    if is_lines(anomaly):
        return lines(anomaly)
    where = place(anomaly) + operation(anomaly)
    if what(anomaly) == "error ratio":
        return where
    if anomaly.signal is Signal.TRAFFIC and what(anomaly) == "rate":
        return f"{where}traffic "
    if what(anomaly) == "value" and anomaly.metric == anomaly.group:
        return where  # a file of one column: its name has been said
    phrase = PHRASES.get(what(anomaly), f"{plain(what(anomaly), NAME)} of {{metric}}")
    return f"{where}{phrase.format(metric=plain(spoken(anomaly.metric), NAME))} is "


def place(anomaly: Anomaly) -> str:
    """`pod-3, ` for a single instance; nothing for the group."""
    if anomaly.aggregate or not anomaly.instance:
        return ""
    return f"{plain(anomaly.instance[-1][1], 24)}, "


def outcome(incident: Incident) -> str:
    """How the incident ended."""
    if incident.merged:
        return "now part of another incident"
    reasons = [a.reason for a in incident.anomalies.values() if a.reason]
    if reasons and all(r == REMOVED for r in reasons):
        return "its series were removed"
    if UNSEEN in reasons:
        return NOT_SEEN
    if reasons and all(r in (NEW_NORMAL, REMOVED) for r in reasons):
        return LASTS
    return BACK_TO_NORMAL


def how_far(anomaly: Anomaly) -> str:
    """The distance from the usual band, where a factor says more than the numbers."""
    if anomaly.peers or anomaly.quantity == GOLDEN or probe_words.is_told(anomaly) or step_words.is_steps(anomaly):
        return ""  # has been said
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
    if is_silence(leading) or is_missed(leading):
        missed = leading.observed / max(leading.expected[1], 1.0)
        return f"{'high' if missed >= MISSED else 'medium'}: nothing heard {missed:,.0f} times as long as usual"
    surprise, learned = leading.score / threshold, span(leading.learned)
    if leading.bad or leading.warned or (leading.learned >= DAY and surprise >= SURE):
        level, but = "high", ""
    elif surprise < HARDLY:
        level, but = "low", "hardly above the threshold; "
    else:
        level = "low" if leading.learned < YOUNG else "medium"
        but = "not far above the threshold; " if surprise < SURE else ""
        learned = f"only {learned}" if leading.learned < DAY else learned
    counted = "traces" if step_words.is_steps(leading) else "requests"
    events = f"{leading.events[0]:,.0f} of {leading.events[1]:,.0f} {counted}; " if leading.events else ""
    return f"{level}: {events}{but}learned {learned}"


def line(anomaly: Anomaly) -> str:
    """One anomaly as evidence: what, where in full, how far, and since when or how long."""
    labels = ", ".join(f"{plain(k, NAME)}={plain(v, NAME)}" for k, v in (*anomaly.labels, *anomaly.instance))
    named = (
        is_silence(anomaly)
        or is_lines(anomaly)
        or step_words.is_steps(anomaly)
        or probe_words.is_told(anomaly)
        or anomaly.quantity == GOLDEN
        or subject(anomaly).endswith("is ")
    )
    metric = "" if named else f" — {plain(anomaly.metric, NAME)}"
    lasted = f", over after {span((anomaly.ended - anomaly.started) / 1000)}" if anomaly.ended is not None else ""
    parts = [f"{finding(anomaly)}{metric}", example(anomaly), how_far(anomaly), f"since {rfc3339(anomaly.started)}{lasted}"]
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
        how = {
            LASTS: "It lasts, and is taken as normal from now on",
            NOT_SEEN: "Whether it is over is not known: no traces come by any more that could show it",
        }.get(outcome(incident), f"It is over: {outcome(incident)}")
        lead, why = f"{how}. It was: {lead}", "it has lasted so long that this is the new normal" if lasts else why
    seconds = ((incident.quiet_since or incident.time) - since) / 1000
    lasted = f"lasted {span(seconds)}" if over else f"for {span(seconds)}" if seconds >= 1.0 else "just begun"
    head = [
        f"{plain(leading.group, NAME)} ({plain(incident.environment, NAME)}): {lead}",
        "",
        f"since     {rfc3339(since)}, {lasted}",
        *([f"how far   {far}"] if (far := how_far(leading)) else []),
        *([] if over else [f"now       {now(leading)}", f"how sure  {sure}"]),
        f"why       {why}",
        *([f"changed   {news}"] if news else []),
        "",
    ]
    told = [*head, *([] if over else cause_words.lines(incident, finding)), *evidence(incident, telling)]
    return "\n".join([*told, *[f"{name}: {url}" for name, url in links]]).rstrip()


def now(anomaly: Anomaly) -> str:
    """The value when this was written."""
    unit = unit_of(anomaly.unit, anomaly.metric, what(anomaly))
    if is_silence(anomaly):
        return f"nothing heard for {span(anomaly.current)}"
    if probe_words.is_told(anomaly):
        return probe_words.now(anomaly)
    if anomaly.quantity == GOLDEN:
        return f"{anomaly.current:.1f} from what is usual together, seldom over {anomaly.expected[1]:.1f}"
    if step_words.is_steps(anomaly):
        return f"{amount(anomaly.current, RATIO)} of traces"
    low, high = (beside(bound, anomaly.observed) for bound in anomaly.expected)
    return f"{amount(anomaly.current, unit)}, usual {band(low, high, unit)}"


def evidence(incident: Incident, telling: Sequence[Anomaly]) -> list[str]:
    """The strongest anomalies, a line each with its last points drawn, and how many there are besides."""
    lines = ["evidence"]
    for anomaly in telling[:SHOWN]:
        drawn = sparkline([v for _, v in anomaly.points], *anomaly.expected)
        where = f"{plain(anomaly.group, NAME)}: " if len(incident.groups) > 1 else ""
        lines.append(f"  - {where}{line(anomaly)}" + (f"  {drawn}" if drawn else ""))
    others = len(telling) + incident.more - min(len(telling), SHOWN)
    return [*lines, *([f"  and {others:,} more"] if others else []), ""]
