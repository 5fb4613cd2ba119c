"""The tables of a replay's report: incidents, what changed, labelled windows; each row linked to its picture.

Whatever came from telemetry or file names is text, never markup.
"""

from html import escape

import numpy as np

from anomaly.host.difference import Change, Difference
from anomaly.host.history import Case, History, duration, minute
from anomaly.host.labelled import Verdict


def windows_table(history: History) -> str:
    """Labelled windows, and whether they were found."""
    if not history.verdicts or not history.verdicts.windows:
        return ""
    judged = {key[1] for key in history.tracks}
    rows = "".join(window_row(w, w.group in judged) for w in history.verdicts.windows)
    return (
        f"<h2>Labelled windows</h2><table><tr><th>labelled from (UTC)<th>to<th>group<th>result<th>after</tr>{rows}</table>"
    )


def window_row(window: Verdict, judged: bool) -> str:
    """One labelled window; of a group that no spec judges nothing could be found."""
    look = "found" if window.found is not None else "missed"
    chip = f'<span class="chip {look}">{look if judged else f"{look}: not judged"}</span>'
    delay = duration((window.found - window.start) / 1000) if window.found is not None else ""
    start, end = (minute(str(np.datetime64(t, "ms"))) for t in (window.start, window.end))
    link = f'<a href="#{anchor(window.group)}">{escape(window.group)}</a>'
    return f'<tr><td class="time">{start}<td class="time until">{end}<td>{link}<td>{chip}<td class="long after">{delay}</tr>'


def table(history: History) -> str:
    """All incidents in the order in which people would have been told."""
    if not history.cases:
        return "<p>Nothing would have been alerted.</p>"
    head = '<tr><th>when (UTC)<th>severity<th>group<th>what<th class="long">how long<th>how sure</tr>'
    return f"<h2>Incidents</h2><table>{head}{''.join(row(case) for case in history.cases.values())}</table>"


def row(case: Case) -> str:
    """One incident, linked to its picture."""
    first = case.first
    link = f'<a href="#{anchor(first.dedup_key)}">{escape(case.what)}</a>'
    return (
        f'<tr><td class="time">{minute(first.time)}<td>{chip(case)}<td>{escape(first.group)}<td class="what">{link}'
        f'<td class="long">{case.lasted}<td class="sure">{escape(first.confidence)}</tr>'
    )


def chip(case: Case) -> str:
    """The severity."""
    return f'<span class="chip {case.worst.value}">{case.worst.value}</span>'


def anchor(name: str) -> str:
    """A name as a fragment of an address: what is not plain becomes its code."""
    return "".join(c if c.isascii() and c.isalnum() else f"-{ord(c):x}" for c in name)


def changes(told: Difference) -> str:
    """What is not as it was, in the order of time."""
    if not told.news():
        return "<p>Nothing would have been alerted otherwise.</p>"
    head = '<tr><th>change<th>when (UTC)<th>severity<th>group<th>what<th class="long">how</tr>'
    return f"<h2>{escape(told.sentence())}</h2><table>{head}{''.join(map(change_row, told.news()))}</table>"


def change_row(change: Change) -> str:
    """One change, linked to its picture."""
    first = change.case.first
    link = f'<a href="#{anchor(first.dedup_key)}">{escape(change.case.what)}</a>'
    return (
        f'<tr><td class="long">{change.kind.value}<td class="time">{minute(first.time)}'
        f'<td class="{change.case.worst.value}">{change.severity}<td>{escape(first.group)}<td class="what">{link}'
        f'<td class="long">{escape(change.how)}</tr>'
    )
