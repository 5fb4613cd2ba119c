"""`anomaly explain`: the score of a moment taken apart, from a replay of what came before it.

Of each series that fits, the first value at or after the moment is explained; until then the replay judges as ever.
"""

import sys
from fnmatch import fnmatchcase
from typing import NamedTuple

import msgspec

from anomaly.decode.identity import Series
from anomaly.decode.records import BadRecord
from anomaly.detect.episode import OPEN
from anomaly.detect.moment import Moment, Moments
from anomaly.detect.subject import Subject
from anomaly.dispatch.amounts import amount, band, span, unit_of
from anomaly.engine import Engine
from anomaly.host.explain_words import Explanation, Part, explained
from anomaly.host.files import NoData
from anomaly.host.history import Case, History
from anomaly.host.labelled import iso
from anomaly.host.past import Past
from anomaly.host.replay import FAILED, NO_DATA, Config, walk

MOST = 50  # series that are explained: a pattern that fits more is too wide for a person


class Question(NamedTuple):
    """Which series, by a pattern of the metric, the group or `group/metric`, and when [ms since the epoch]."""

    match: str
    at: int

    def fits(self, subject: Subject | Series) -> bool:
        """Whether a series is meant."""
        names = subject.metric, subject.group, f"{subject.group}/{subject.metric}"
        return any(fnmatchcase(name, self.match) for name in names)


def explain(past: Past, config: Config, question: Question, json: bool) -> int:
    """Print the explanations; the exit code."""
    moments, engine = Moments(question.fits, question.at), Engine(config.settings, config.specs)
    moments.follow(engine.detector(0))
    try:
        history = walk(past, engine)
    except (NoData, BadRecord) as error:
        print(f"anomaly: {error}", file=sys.stderr)
        return NO_DATA if isinstance(error, NoData) else FAILED
    found = moments.found()
    for subject, moment in found[:MOST]:
        case = case_of(history, subject, moment)
        told = explained(subject, moment, config.specs[subject.spec], config.settings.threshold.alert, case)
        print(msgspec.json.encode(told).decode() if json else "\n".join([*lines(told), ""]))
    if len(found) > MOST:
        print(f"anomaly: {len(found) - MOST} more series fit {question.match}; ask for fewer", file=sys.stderr)
    if not found:
        print(f"anomaly: {ignored(engine, question) or nothing(moments, question)}", file=sys.stderr)
    return 0 if found else NO_DATA


def case_of(history: History, subject: Subject, moment: Moment) -> Case | None:
    """The incident that the anomaly of that moment came to be part of, if people were told of it."""
    if moment.after["phase"] != OPEN:
        return None
    who = subject.key, int(moment.after["started"])
    cases = (*history.cases.values(), *history.before.values())
    return next((c for c in cases if any((a.key, a.started) == who for a in c.incident.anomalies.values())), None)


def ignored(engine: Engine, question: Question) -> str:
    """The series that fit, and that no spec judges; nothing if there are none."""
    listed = [each.series for each in engine.detector(0).listing() if each.is_ignored]
    names = sorted({s.metric for s in listed if question.fits(s)})
    return f"{', '.join(names[:3])}: not judged, a spec ignores it (models/ignore.yaml, or one of your own)" if names else ""


def nothing(moments: Moments, question: Question) -> str:
    """Why there is nothing to explain."""
    if not moments.newest:
        return f"no judged series fits {question.match}: name a metric, a group, or group/metric; * stands for anything"
    newest = iso(max(moments.newest.values()))[:19].replace("T", " ")
    return f"{question.match} has no value at {iso(question.at)[:19].replace('T', ' ')} or later; the last is of {newest}"


def lines(e: Explanation) -> list[str]:
    """For a person."""
    named = ", ".join(f"{k}={v}" for k, v in e.labels.items())
    unit = unit_of(e.unit, e.metric, e.quantity)
    score = "not known yet" if e.score is None else f"{e.score:.2f}"
    head = [
        f"{e.group}: {e.metric if e.quantity == 'value' else f'{e.quantity} of {e.metric}'}"
        + (f" [{named}]" if named else ""),
        f"  at        {e.time[:19].replace('T', ' ')} UTC, spec {e.spec}, learned {span(e.learned_s)}",
        f"  value     {amount(e.value, unit, 1)}, usual {band(*e.expected, unit, 1)}",
        f"  score     {score}",
    ]
    return (
        head
        + listed("made of", e.contributed)
        + listed("reduced by", e.reduced)
        + ["  so"]
        + [f"    {f}" for f in e.follows]
    )


def listed(name: str, parts: list[Part]) -> list[str]:
    """A line each."""
    rows = [f"    {p.what:13} {'' if p.score is None else f'{p.score:.2f}':>7}  {p.text}" for p in parts]
    return [f"  {name}", *rows] if rows else []
