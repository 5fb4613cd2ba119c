"""A replay as one HTML file that opens without a network: a table of the incidents, and for each what the series did.

Whatever came from telemetry or file names is text, never markup; the page allows itself no script and loads nothing.
"""

from collections.abc import Iterable
from html import escape
from importlib.resources import files
from string import Template

import numpy as np

from anomaly.detect.anomaly import Anomaly
from anomaly.host.history import Case, History, duration, minute
from anomaly.host.labelled import Track, Verdict, ms
from anomaly.host.plot import Mark, Span, plot

AROUND = 3.0  # an incident is drawn with so many times its length on both sides
LEAST = 40  # and at least so many points
SHOWN = 4  # plots of one incident
KEY = (
    ("episode", "anomaly"),
    ("band", "usual range when it began"),
    ("window", "labelled as anomalous"),
)


def page(history: History) -> str:
    """The whole file."""
    template = Template(files("anomaly.host").joinpath("report.html").read_text(encoding="utf-8"))
    return template.substitute(
        title="What would have been alerted",
        sentence=escape(history.sentence()),
        tiles="".join(tiles(history)),
        key=key(history),
        windows=windows_table(history),
        table=table(history),
        sections="".join(section(group, history) for group in groups(history)),
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
    return [f'<div class="tile"><b>{n}</b>{escape(name)}</div>' for name, n in numbers.items()]


def key(history: History) -> str:
    """What the shades mean."""
    shown = [(look, name) for look, name in KEY if look != "window" or history.verdicts]
    swatch = '<svg class="swatch" viewBox="0 0 22 12"><rect class="{}" width="22" height="12"/></svg>'
    parts = [f"<span>{swatch.format(look)} {escape(name)}</span>" for look, name in shown]
    return "".join(parts) + '<span><b class="critical">▼</b> alert, <b class="found">▼</b> its end</span>'


def windows_table(history: History) -> str:
    """Labelled windows, and whether they were found."""
    if not history.verdicts or not history.verdicts.windows:
        return ""
    rows = "".join(window_row(w) for w in history.verdicts.windows)
    return f"<table><tr><th>labelled from (UTC)<th>to<th>group<th>result<th>after</tr>{rows}</table>"


def window_row(window: Verdict) -> str:
    """One labelled window."""
    found = window.found is not None
    chip = f'<span class="chip {"found" if found else "missed"}">{"found" if found else "missed"}</span>'
    delay = duration((window.found - window.start) / 1000) if window.found is not None else ""
    start, end = (minute(str(np.datetime64(t, "ms"))) for t in (window.start, window.end))
    link = f'<a href="#{anchor(window.group)}">{escape(window.group)}</a>'
    return f'<tr><td class="time">{start}<td class="time">{end}<td>{link}<td>{chip}<td class="long">{delay}</tr>'


def table(history: History) -> str:
    """All incidents in the order in which people would have been told."""
    if not history.cases:
        return "<p>Nothing would have been alerted.</p>"
    head = '<tr><th>when (UTC)<th>severity<th>group<th>what<th class="long">how long<th>how sure</tr>'
    return f"<table>{head}{''.join(row(case) for case in history.cases.values())}</table>"


def row(case: Case) -> str:
    """One incident, linked to its picture."""
    first = case.first
    link = f'<a href="#{anchor(first.dedup_key)}">{escape(case.what)}</a>'
    return (
        f'<tr><td class="time">{minute(first.time)}<td>{chip(case)}<td>{escape(first.group)}<td>{link}'
        f'<td class="long">{case.lasted}<td>{escape(first.confidence)}</tr>'
    )


def chip(case: Case) -> str:
    """The severity."""
    return f'<span class="chip {case.worst.value}">{case.worst.value}</span>'


def anchor(name: str) -> str:
    """A name as a fragment of an address: what is not plain becomes its code."""
    return "".join(c if c.isascii() and c.isalnum() else f"-{ord(c):x}" for c in name)


def groups(history: History) -> list[str]:
    """The groups to show: those with a label or an incident, labelled ones as their files were given."""
    labelled = [w.group for w in history.verdicts.windows] if history.verdicts else []
    return list(dict.fromkeys([*labelled, *(case.first.group for case in history.cases.values())]))


def section(group: str, history: History) -> str:
    """A group: its series as a whole, then its incidents one by one."""
    cases = [case for case in history.cases.values() if case.first.group == group]
    windows = [w for w in history.verdicts.windows if w.group == group] if history.verdicts else []
    whole = "".join(figure(track, cases, windows, metric) for (of, metric), track in history.series.items() if of == group)
    n = len(cases)
    head = f"<header><h2>{escape(group)}</h2><span class='soft'>{n} incident{'s' * (n != 1)}</span></header>"
    told = "".join(told_of(case, history, windows) for case in cases)
    return f'<section id="{anchor(group)}">{head}{whole}{told}</section>'


def figure(track: Track, cases: list[Case], windows: list[Verdict], caption: str) -> str:
    """A whole series with everything that was said about it."""
    episodes = [episode(a) for case in cases for a in case.incident.anomalies.values() if a.metric == caption]
    marks = [Mark(ms(c.first.time), "trigger", f"{minute(c.first.time)} {c.first.title}") for c in cases]
    return captioned(plot(track, [*shaded(windows), *episodes], marks, caption), caption)


def captioned(svg: str, caption: str) -> str:
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"


def shaded(windows: Iterable[Verdict]) -> list[Span]:
    """Labelled windows as spans."""
    return [Span(w.start, w.end, "window", w.text()) for w in windows]


def episode(anomaly: Anomaly) -> Span:
    """An anomaly as a span; one that lasts reaches to when it was last heard of."""
    return Span(anomaly.started, anomaly.ended or anomaly.time, "episode", f"{anomaly.quantity} of {anomaly.metric}")


def told_of(case: Case, history: History, windows: list[Verdict]) -> str:
    """An incident: its line, folded below it the message and the pictures."""
    first = case.first
    line = f"{minute(first.time)} {chip(case)} <b>{escape(case.what)}</b> <span class='soft'>{case.lasted}</span>"
    strongest = sorted(case.incident.anomalies.values(), key=lambda a: -a.score)[:SHOWN]
    drawn = "".join(close_up(a, case, history, windows) for a in strongest)
    message = f"<pre>{escape(first.text)}</pre>"
    return f'<details id="{anchor(first.dedup_key)}"><summary>{line}</summary>{message}{drawn}</details>'


def close_up(anomaly: Anomaly, case: Case, history: History, windows: list[Verdict]) -> str:
    """An anomaly and what was before and after it; of a derived series only the points that the evidence holds."""
    whole = history.series.get((anomaly.group, anomaly.metric))
    track = around(whole, anomaly) if whole and anomaly.quantity == "value" else evidence(history.seen.get(anomaly.id, {}))
    if track[0].size < 2:
        return ""
    low, high = anomaly.expected
    band = Span(int(track[0][0]), int(track[0][-1]), "band", "usual range when it began", low, high)
    marks = [Mark(ms(a.time), a.event.value, f"{a.event.value} {minute(a.time)} {a.title}") for a in case.alerts]
    name = f"{anomaly.quantity} of {anomaly.metric}" + (f" [{anomaly.unit}]" if anomaly.unit else "")
    labels = ", ".join(f"{k}={v}" for k, v in (*anomaly.labels, *anomaly.instance))
    caption = name + (f" {{{labels}}}" if labels else "")
    return captioned(plot(track, [*shaded(windows), band, episode(anomaly)], marks, caption, 150), caption)


def around(track: Track, anomaly: Anomaly) -> Track:
    """The part of a series that an anomaly is seen in."""
    times, values = track
    end = anomaly.ended or anomaly.time
    reach = AROUND * (end - anomaly.started)
    a, b = np.searchsorted(times, [anomaly.started - reach, end + reach])
    middle = int(np.searchsorted(times, anomaly.started))
    part = slice(max(min(int(a), middle - LEAST), 0), max(int(b), middle + LEAST))
    return times[part], values[part]


def evidence(points: dict[int, float]) -> Track:
    """The points that came with an anomaly: of a long one its beginning, its peaks and its end."""
    times = sorted(points)
    return np.array(times, np.int64), np.array([points[t] for t in times], np.float64)
