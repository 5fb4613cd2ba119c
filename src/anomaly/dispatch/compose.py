"""An incident put into the shape of an alert: evidence, links, ids. `decide` says what is sent, `words` how it reads."""

import math
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote

from anomaly.correlate.incident import Incident, State, digest
from anomaly.detect.anomaly import Anomaly
from anomaly.dispatch import cause_words, words
from anomaly.dispatch.alert import Alert, Evidence, Severity, What
from anomaly.dispatch.amounts import plain

NAME = 200  # characters of a name or a label's value in a field of its own
LABELS = 40  # labels of a series: more are cut, because an attribute set may be of any size


def compose(
    incident: Incident, what: What, severity: Severity, why: str, news: str, telling: Sequence[Anomaly],
    threshold: float, templates: Mapping[str, str], reduced_by: tuple[str, ...] = (),
) -> Alert:  # fmt: skip
    """The alert about the incident as it stands; `telling` are its anomalies, the most telling first."""
    leading, since = telling[0], incident.told.started
    links = filled(templates, incident.environment, incident.group, leading.metric)
    sure = words.confidence(leading, threshold)
    return Alert(
        event=what,
        id=digest(incident.dedup_key, str(incident.told.change))[:32],
        dedup_key=incident.dedup_key,
        time=words.rfc3339(incident.time),
        severity=severity,
        why=why,
        title=words.title(incident, leading, since),
        text=words.body(incident, telling, since, why, sure, news, links.items()),
        environment=plain(incident.environment, NAME),
        group=plain(incident.group, NAME),
        started_at=words.rfc3339(since),
        ended_at=words.rfc3339(incident.quiet_since) if over(incident) and incident.quiet_since is not None else None,
        confidence=sure,
        causes=cause_words.shown(incident, words.finding),
        impact=impact(incident),
        evidence=tuple(shown(a) for a in telling[: words.SHOWN]),
        traces=cause_words.traces(incident),
        changes=cause_words.changes(incident),
        links=links,
        reduced_by=(*reduced_by, *reasons(telling[: words.SHOWN])),
    )


def impact(incident: Incident) -> dict[str, object]:
    """Who is concerned: every group that is ill, and those of them that suffer from the likeliest cause."""
    named = {"groups": cause_words.concerned(incident), "victims": incident.victims}
    listed = {name: [plain(group, NAME) for group in groups[: cause_words.LISTED]] for name, groups in named.items()}
    return {"slo": None, **listed, "systemic": incident.systemic}


def reasons(telling: Iterable[Anomaly]) -> Iterable[str]:
    """What made scores smaller, each kind once, of the most telling anomaly."""
    kinds: dict[str, str] = {}
    for why in (why for a in telling for why in a.reduced_by):
        kinds.setdefault(why.partition(":")[0], why)
    return kinds.values()


def over(incident: Incident) -> bool:
    """Whether the incident is resolved."""
    return incident.state is State.RESOLVED


def shown(anomaly: Anomaly) -> Evidence:
    """One anomaly as evidence."""
    labels = [("__name__", anomaly.metric), *anomaly.labels, *anomaly.instance][:LABELS]
    low, high = (b if math.isfinite(b) else None for b in anomaly.expected)
    return Evidence(
        series={plain(k, NAME): plain(v, NAME) for k, v in labels},
        quantity=anomaly.quantity,
        unit=plain(anomaly.unit, NAME),
        expected=(low, high),
        observed=finite(anomaly.observed),
        score=finite(anomaly.score),
        started_at=words.rfc3339(anomaly.started),
        ended_at=None if anomaly.ended is None else words.rfc3339(anomaly.ended),
        points=tuple(points(anomaly.points)),
        text=words.line(anomaly),
    )


def points(pairs: Iterable[tuple[int, float]]) -> Iterable[tuple[str, float]]:
    """Those that JSON can hold."""
    return ((words.rfc3339(time), value) for time, value in pairs if math.isfinite(value))


def finite(value: float) -> float:
    """JSON has no infinity: the greatest number stands for it, and 0 for what is no number."""
    return value if math.isfinite(value) else math.copysign(1e308, value) if math.isinf(value) else 0.0


def filled(templates: Mapping[str, str], environment: str, group: str, metric: str) -> dict[str, str]:
    """Links with the names filled in; quoted, so that a name can change no other part of the address."""
    names = {"environment": environment, "group": group, "metric": metric}
    quoted = {k: quote(v[:NAME], safe="", errors="replace") for k, v in names.items()}
    return {name: template.format_map(quoted) for name, template in templates.items()}
