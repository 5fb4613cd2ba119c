"""How alerts on the Nezha slice are scored, from their times and answers alone (see the slice's README).

A fault's window is from 120 s before its onset to 240 s after it, both ends included. Everything that people are told
counts, triggers and updates; what is only recorded (severity info) does not. The answer of an alert are its ranked causes;
one without any names its group. Alerts about the unlabelled registry problem, which is in most windows, find no fault, are
not false, and are counted apart: the detector is right there, and the labels say nothing. Such are those of which most of
the traces have a line of it, in some of these it is written by the first-ranked service, and that is ranked for its lines;
without traces, those whose first cause has it.
found: anything is told in the window; named: a first-ranked cause is the injected service; the delay is that of the name.
as: the last answer by the window's end of an incident that is open in the window has the service among its first k services.
ais: that answer's first cause is of the service, and names the resource, or both events of the code region.
"""

import json
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from benchmarks.nezha_read import Fault, Span, clean

from anomaly.dispatch.alert import Alert, Severity, What
from anomaly.host.labelled import ms

REGISTRY = "No instances available"
LINES = ("sequence", "line")  # kinds of causes
START = " start"  # behind the operation whose beginning is an event
RESOURCES = {"CpuUsageRate(%)": "cpu", "NetworkP90(ms)": "network"}  # what names them


class Answer(NamedTuple):
    """A cause: whose it is, and all that is said of it."""

    service: str
    text: str


class Told(NamedTuple):
    """An alert as people get it, at ms of event time: about which incident, and its causes, the likeliest first."""

    time: int
    incident: str
    over: bool
    causes: tuple[Answer, ...]
    registry: bool = False  # it is about the problem that has no label
    title: str = ""

    @property
    def service(self) -> str:
        """Its first answer."""
        return self.causes[0].service


class Score(NamedTuple):
    """Of a fault: seconds after its onset of the first alert and of its name, NaN: none; its incidents; of the answer the
    rank of the service (0: not named) and whether its first cause names what is broken; and the first alert's answer."""

    fault: Fault
    found: float
    named: float
    incidents: int
    rank: int
    inner: bool
    first: bool
    answer: Answer


NONE = Answer("", "")


def told(alert: Alert, unlabelled: Mapping[str, Container[str]]) -> Told | None:
    """The alert, if anybody is told; `unlabelled` are the traces with a line of the registry problem, and who wrote it."""
    if alert.severity is Severity.INFO and alert.event is not What.RESOLVE:
        return None
    causes = tuple(Answer(own(str(c.get("service") or alert.group)), said(c)) for c in alert.causes)
    alone = Answer(own(alert.group), " ".join([alert.title, *(e.text + said(e.series) for e in alert.evidence[:1])]))
    answer = causes or (alone,)
    with_line = [unlabelled[trace] for trace in alert.traces if trace in unlabelled]
    registry = REGISTRY in answer[0].text and not alert.traces
    by_lines = alert.causes and alert.causes[0].get("kind", LINES[0]) in LINES
    if by_lines and 2 * len(with_line) > len(alert.traces):
        registry |= any(answer[0].service in who for who in with_line)
    return Told(ms(alert.time), alert.dedup_key, alert.event is What.RESOLVE, answer, registry, alert.title)


def own(group: str) -> str:
    """A service's own name."""
    return group.rpartition("/")[2]


def said(value: object) -> str:
    """All that is in it."""
    return json.dumps(value, ensure_ascii=False, default=str)


def within(alerts: Iterable[Told], span: Span) -> list[Told]:
    """What is told in it, but of the registry, in order."""
    first, last = span
    return sorted(t for t in alerts if not t.over and not t.registry and first <= t.time <= last)


def answers(alerts: Iterable[Told], span: Span) -> list[Told]:
    """The last answer by its end of each incident that is open in it, the newest last."""
    first, last = span
    held: dict[str, Told] = {}
    for one in sorted(t for t in alerts if t.time <= last):
        if one.over and one.time < first:
            held.pop(one.incident, None)
        elif not one.over:
            held.pop(one.incident, None)
            held[one.incident] = one
    return [one for one in held.values() if not one.registry]


def judged(fault: Fault, alerts: Sequence[Told]) -> Score:
    """A fault's score."""
    here, last = within(alerts, fault.span), answers(alerts, fault.span)
    named = [one for one in here if one.service == fault.service]
    causes = last[-1].causes if last else ()
    services = list(dict.fromkeys(cause.service for cause in causes))
    return Score(
        fault,
        found=after(fault, here),
        named=after(fault, named),
        incidents=len({one.incident for one in here}),
        rank=services.index(fault.service) + 1 if fault.service in services else 0,
        inner=bool(causes) and names(fault, causes[0]),
        first=bool(here) and here[0].service == fault.service,
        answer=causes[0] if causes else NONE,
    )


def after(fault: Fault, alerts: Sequence[Told]) -> float:
    """Seconds from the onset to the first of them."""
    return (alerts[0].time - fault.onset) / 1000 if alerts else float("nan")


def names(fault: Fault, cause: Answer) -> bool:
    """Whether a cause names what is broken within the service."""
    if cause.service != fault.service:
        return False
    if fault.cause in RESOURCES:
        return RESOURCES[fault.cause] in cause.text.lower()
    return all(one.removesuffix(START) in cause.text for one in fault.cause.split("_"))


def false(alerts: Iterable[Told], labelled: list[Fault], unsure: list[tuple[str, Span]]) -> list[Told]:
    """First alerts of incidents, told where nothing is wrong for certain."""
    first: dict[str, Told] = {}
    for one in sorted(alerts):
        if not one.over:
            first.setdefault(one.incident, one)
    return [one for one in first.values() if not one.registry and clean(one.time, labelled, unsure)]


def of_registry(alerts: Iterable[Told]) -> int:
    """Incidents that are never about anything else."""
    every = [one for one in alerts if not one.over]
    return len({one.incident for one in every} - {one.incident for one in every if not one.registry})


def apart(pair: tuple[Fault, Fault], alerts: Iterable[Told], span: Span) -> bool:
    """Whether two faults at once are two incidents, each with its cause."""
    firsts = {one.service for one in answers(alerts, span) if one.time >= span[0]}
    return {fault.service for fault in pair} <= firsts


def summed(scores: Sequence[Score]) -> dict[str, int | float | None]:
    """In numbers; incidents a found fault, everything else counts faults."""
    hit = [score for score in scores if score.found == score.found]
    delays = [score.named for score in scores if score.named == score.named]
    return {
        "faults": len(scores),
        "found": len(hit),
        "named": len(delays),
        "incidents": round(sum(score.incidents for score in hit) / len(hit), 2) if hit else None,
        "median_delay_s": float(np.median(delays)) if delays else None,
        **{f"as{k}": sum(0 < score.rank <= k for score in scores) for k in (1, 3, 5)},
        "ais1": sum(score.inner for score in scores),
        "as1_first_alarm": sum(score.first for score in scores),
    }
