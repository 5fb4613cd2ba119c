"""A replay as one HTML file that opens without a network: a table of the incidents, and for each what the series did,
what was usual for them, and how odd the model found it. Beside another configuration, what changed comes first.

Whatever came from telemetry or file names is text, never markup; the page allows itself no script and loads nothing.
"""

from collections.abc import Iterable
from html import escape
from importlib.resources import files
from string import Template

import numpy as np

from anomaly.detect.anomaly import Anomaly
from anomaly.detect.subject import Subject
from anomaly.detect.watch import Wanted
from anomaly.host.difference import Difference, Kind
from anomaly.host.history import Case, History, minute
from anomaly.host.labelled import Verdict, ms
from anomaly.host.plot import Mark, Span, plot
from anomaly.host.report_tables import anchor, changes, chip, table, windows_table
from anomaly.host.tracks import Key, Seen

AROUND = 3.0  # an incident is drawn with so many times its length on both sides
LEAST = 40  # and at least so many points
SHOWN = 4  # plots of one incident
WHOLE = 6  # and of a group as a whole
SCORES = 64  # height of a score's drawing, pixels
LEAST_SCORE = 8.0  # a drawing of scores reaches at least so high: what is calm is to look calm
KEY = (
    ("episode", "anomaly"),
    ("band", "usual range"),
    ("frozen", "usual range when it began, by which it ends"),
    ("window", "labelled as anomalous"),
)


def wanted(history: History, told: Difference | None = None) -> Wanted:
    """Which series are drawn: those of the anomalies, and all of a group that has a label, for whatever was missed."""
    cases = [*history.cases.values(), *(c.case for c in (told.news() if told else ()))]
    keys = {a.key for case in cases for a in strongest(case)}
    labelled = {w.group for w in history.verdicts.windows} if history.verdicts else set[str]()

    def is_wanted(subject: Subject) -> bool:
        return subject.group in labelled or subject.key in keys

    return is_wanted


def strongest(case: Case) -> list[Anomaly]:
    """The anomalies of an incident that are drawn."""
    return sorted(case.incident.anomalies.values(), key=lambda a: (-a.score, a.id))[:SHOWN]


def page(history: History, told: Difference | None = None) -> str:
    """The whole file."""
    template = Template(files("anomaly.host").joinpath("report.html").read_text(encoding="utf-8"))
    return template.substitute(
        title="What would have been alerted" if told is None else "What would have been alerted otherwise",
        sentence=escape(history.sentence() if told is None else f"{told.sentence()} {told.names[0]}: {history.sentence()}"),
        tiles="".join(tiles(history)),
        key=key(history),
        windows=windows_table(history),
        difference=changes(told) if told else "",
        table=table(history),
        sections="".join(section(group, history, told) for group in groups(history, told)),
    )


def tiles(history: History) -> Iterable[str]:
    """The numbers at the top."""
    cases = list(history.cases.values())
    numbers = {
        "incidents": len(cases),
        "critical": sum(c.worst.value == "critical" for c in cases),
        "warning": sum(c.worst.value == "warning" for c in cases),
        "still open": sum(c.open for c in cases),
        "files": len(history.files),
    }
    if history.verdicts:
        counts = history.verdicts.counts()
        numbers["labelled windows found"] = f"{counts['found']} of {counts['windows']}"  # type: ignore[assignment]
        numbers["outside of windows"] = history.verdicts.others
        numbers["false a week"] = "–" if not counts["weeks"] else f"{counts['false_per_week']:.2f}"  # type: ignore[assignment]
        numbers["precision"] = "–" if not cases else f"{counts['precision']:.2f}"  # type: ignore[assignment]
    return [f'<div class="tile"><b>{n}</b>{escape(name)}</div>' for name, n in numbers.items()]


def key(history: History) -> str:
    """What the shades mean."""
    shown = [(look, name) for look, name in KEY if look != "window" or history.verdicts]
    swatch = '<svg class="swatch" viewBox="0 0 22 12"><rect class="{}" width="22" height="12"/></svg>'
    parts = [f"<span>{swatch.format(look)} {escape(name)}</span>" for look, name in shown]
    marks = '<span><b class="critical">▼</b> alert, <b class="found">▼</b> its end</span>'
    return "".join(parts) + marks + "<span>below each series: its score, and the line at which it may be alerted</span>"


def removed(told: Difference | None) -> list[Case]:
    """Incidents that are no more."""
    return [c.case for c in told.news() if c.kind is Kind.REMOVED] if told else []


def groups(history: History, told: Difference | None) -> list[str]:
    """The groups to show: those with a label or an incident, labelled ones as their files were given."""
    labelled = [w.group for w in history.verdicts.windows] if history.verdicts else []
    cases = [*history.cases.values(), *removed(told)]
    return list(dict.fromkeys([*labelled, *(case.first.group for case in cases)]))


def section(group: str, history: History, told: Difference | None) -> str:
    """A group: its series as a whole, then its incidents one by one, then those that are no more."""
    cases = [case for case in history.cases.values() if case.first.group == group]
    gone = [case for case in removed(told) if case.first.group == group]
    windows = [w for w in history.verdicts.windows if w.group == group] if history.verdicts else []
    whole = "".join(figure(key, seen, cases, windows, history) for key, seen in telling(group, history))
    n = len(cases)
    if not any(key[1] == group for key in history.tracks):
        whole = "<p class='soft'>None of its series is judged: the specs ignore them, or they are not there.</p>"
    head = f"<header><h2>{escape(group)}</h2><span class='soft'>{n} incident{'s' * (n != 1)}</span></header>"
    drawn = [
        *(told_of(case, history, windows) for case in cases),
        *(told_of(c, history, windows, "removed: ") for c in gone),
    ]
    return f'<section id="{anchor(group)}">{head}{whole}{"".join(drawn)}</section>'


def telling(group: str, history: History) -> list[tuple[Key, Seen]]:
    """The series of a group that tell most, by their greatest scores."""
    own = [(key, seen) for key, seen in history.tracks.items() if key[1] == group and seen.time.size > 1]
    return sorted(own, key=lambda each: (-float(np.nan_to_num(each[1].score).max()), repr(each[0])))[:WHOLE]


def figure(key: Key, seen: Seen, cases: list[Case], windows: list[Verdict], history: History) -> str:
    """A whole series with everything that was said about it."""
    own = [a for case in cases for a in case.incident.anomalies.values() if a.key == key]
    marks = [Mark(ms(c.first.time), "trigger", f"{minute(c.first.time)} {c.first.title}") for c in cases]
    return drawing(seen, [*shaded(windows), *map(episode, own)], marks, caption(key), 170, history.threshold)


def drawing(seen: Seen, spans: list[Span], marks: list[Mark], name: str, height: int, threshold: float) -> str:
    """A series within its usual range, and below it the score of each point."""
    band = seen.time, seen.low, seen.high
    series = plot((seen.time, seen.value), spans, marks, name, height, band)
    score = np.nan_to_num(seen.score)
    tall = [Span(s.start, s.end, s.look, s.say) for s in spans if s.look != "frozen"]
    whole = Span(int(seen.time[0]), int(seen.time[0]), "none", low=0.0, high=max(LEAST_SCORE, 1.2 * threshold))
    scores = plot((seen.time, score), [*tall, whole], [], f"score of {name}", SCORES, level=threshold)
    first, last = (minute(str(np.datetime64(int(seen.time[at]), "ms"))) for at in (0, -1))
    return f"<figure>{series}{scores}<figcaption>{escape(name)}, {first} to {last} UTC</figcaption></figure>"


def caption(key: Key, unit: str = "") -> str:
    """Which series it is, in words."""
    _, _, metric, quantity, labels, instance = key
    named = ", ".join(f"{k}={v}" for k, v in (*labels, *(instance or ())))  # type: ignore[misc]
    of = f"{metric}" if quantity == "value" else f"{quantity} of {metric}"
    return of + (f" [{unit}]" if unit else "") + (f" {{{named}}}" if named else "")


def shaded(windows: Iterable[Verdict]) -> list[Span]:
    """Labelled windows as spans."""
    return [Span(w.start, w.end, "window", w.text()) for w in windows]


def episode(anomaly: Anomaly) -> Span:
    """An anomaly as a span; one that lasts reaches to when it was last heard of."""
    return Span(anomaly.started, anomaly.ended or anomaly.time, "episode", f"{anomaly.quantity} of {anomaly.metric}")


def told_of(case: Case, history: History, windows: list[Verdict], how: str = "") -> str:
    """An incident: its line, folded below it the message and the pictures."""
    first = case.first
    line = f"{how}{minute(first.time)} {chip(case)} <b>{escape(case.what)}</b> <span class='soft'>{case.lasted}</span>"
    drawn = "".join(close_up(a, case, history, windows) for a in strongest(case))
    message = f"<pre>{escape(first.text)}</pre>"
    return f'<details id="{anchor(first.dedup_key)}"><summary>{line}</summary>{message}{drawn}</details>'


def close_up(anomaly: Anomaly, case: Case, history: History, windows: list[Verdict]) -> str:
    """An anomaly and what was before and after it."""
    whole = history.tracks.get(anomaly.key)
    seen = around(whole, anomaly) if whole else None
    if seen is None or seen.time.size < 2:
        return ""
    low, high = anomaly.expected
    shown = episode(anomaly)
    frozen = Span(shown.start, shown.end, "frozen", "usual range when it began", low, high)
    marks = [Mark(ms(a.time), a.event.value, f"{a.event.value} {minute(a.time)} {a.title}") for a in case.alerts]
    name = caption(anomaly.key, anomaly.unit)
    return drawing(seen, [*shaded(windows), shown, frozen], marks, name, 150, history.threshold)


def around(seen: Seen, anomaly: Anomaly) -> Seen:
    """The part of a series that an anomaly is seen in."""
    end = anomaly.ended or anomaly.time
    reach = AROUND * (end - anomaly.started)
    a, b = np.searchsorted(seen.time, [anomaly.started - reach, end + reach])
    middle = int(np.searchsorted(seen.time, anomaly.started))
    return seen.part(slice(max(min(int(a), middle - LEAST), 0), max(int(b), middle + LEAST)))
