"""What a replay gave: the incidents that would have been alerted, each with its alerts, and how a person would say it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from anomaly.correlate.incident import Incident
from anomaly.decode.block import Block
from anomaly.decode.records import DeadLetter
from anomaly.detect.anomaly import REMOVED
from anomaly.dispatch.alert import Alert, Severity, What
from anomaly.host.labelled import Verdicts, iso, ms
from anomaly.host.past import Stretch
from anomaly.host.tracks import Key, Seen

HOUR, WEEK = 3_600_000, 604_800_000  # ms
GAP = 24  # hours without a point that still count as heard: slow series speak once a day


@dataclass(slots=True)
class Case:
    """An incident that was alerted: its alerts in order, and how it stood when last heard of."""

    alerts: list[Alert]
    incident: Incident

    @property
    def first(self) -> Alert:
        """The trigger."""
        return self.alerts[0]

    @property
    def last(self) -> Alert:
        """The resolve, if it was over when the history was."""
        return self.alerts[-1]

    @property
    def what(self) -> str:
        """The trigger's title without the group, for where that stands beside it."""
        return self.first.title.removeprefix(f"{self.first.group}: ")

    @property
    def open(self) -> bool:
        """Whether it lasts beyond the end of the history."""
        return self.last.event is not What.RESOLVE

    @property
    def worst(self) -> Severity:
        """The highest severity it reached."""
        return min((a.severity for a in self.alerts), key=list(Severity).index)

    @property
    def span(self) -> tuple[int, int | None]:
        """When it began and when it ended, ms; None: it lasts."""
        return ms(self.first.started_at), None if self.open else ms(self.last.ended_at or self.last.time)

    @property
    def lasted(self) -> str:
        """How long, in words."""
        started, ended = self.span
        if ended is None:
            return "still open"
        if all(a.reason == REMOVED for a in self.incident.anomalies.values()):
            return "to the end of its data"
        return duration((ended - started) / 1000)


@dataclass(slots=True)
class History:
    """The whole replay: what would have been alerted in the stretch that was asked for.

    `cases` are the incidents alerted first within the stretch, by dedup_key, in that order; `before` those that were open
    already when it began. `tracks` are the series that a report draws.
    """

    files: Sequence[str]
    stretch: Stretch = field(default_factory=Stretch)
    threshold: float = 6.0  # evidence that an alert needs
    alerts: list[Alert] = field(default_factory=list)
    cases: dict[str, Case] = field(default_factory=dict)
    before: dict[str, Case] = field(default_factory=dict)
    points: int = 0
    dead: list[DeadLetter] = field(default_factory=list)
    ignored: int = 0  # points of series that no spec judges
    begins: int = 0  # event time, ms
    ends: int = 0
    hours: set[int] = field(default_factory=set)  # of the stretch, in which something was heard
    tracks: dict[Key, Seen] = field(default_factory=dict)
    verdicts: Verdicts | None = None

    def take(self, changed: Iterable[tuple[Incident, Alert | None]]) -> None:
        """Keep the alerts, and of each alerted incident its latest form."""
        for incident, alert in changed:
            key = incident.dedup_key
            if alert:
                if key not in self.cases and key not in self.before:
                    told = self.cases if self.stretch.tells(ms(alert.time)) else self.before
                    told[key] = Case([], incident)
                if key in self.cases:
                    self.alerts.append(alert)
                (self.cases.get(key) or self.before[key]).alerts.append(alert)
            if case := self.cases.get(key) or self.before.get(key):
                case.incident = incident

    def heard(self, blocks: Iterable[tuple[int, Block]]) -> None:
        """Count the points and how far they reach."""
        for _, block in blocks:
            time = block.points.time
            if time.size:
                self.begins = min(int(time.min()), self.begins or int(time.min()))
                self.ends = max(int(time.max()), self.ends)
                self.points += time.size
                self.hours.update(np.unique(time[time >= (self.stretch.begin or 0)] // HOUR).tolist())

    @property
    def weeks(self) -> float:
        """How long the stretch was heard, whatever the number of series; a gap of more than a day is none of it."""
        hours = np.array(sorted(self.hours), np.int64)
        apart = np.diff(hours, append=hours[-1:] + 1)
        return float(np.where(apart <= GAP, apart, 1).sum() * HOUR / WEEK)

    def counts(self) -> dict[str, object]:
        """In numbers."""
        cases = self.cases.values()
        told: dict[str, object] = {
            "files": len(self.files),
            "points": self.points,
            "dead_letters": len(self.dead),
            "ignored_points": self.ignored,
            "incidents": len(cases),
            "still_open": sum(case.open for case in cases),
            "alerts": {what.value: sum(a.event is what for a in self.alerts) for what in What},
            "severity": {severity.value: sum(case.worst is severity for case in cases) for severity in Severity},
        }
        if self.stretch.begin is not None:
            told["open_before"] = len(self.before)
        return told | (self.verdicts.counts() if self.verdicts else {})

    def sentence(self) -> str:
        """In words."""
        n, still = len(self.cases), sum(case.open for case in self.cases.values())
        span = f"{minute(iso(self.begins))} to {minute(iso(self.ends))} UTC" if self.points else "no data"
        asked = f" {len(self.before)} began before {minute(iso(self.stretch.begin))}." if self.stretch.begin else ""
        aside = f" {self.ignored:,} points are of series that the specs ignore." if self.ignored else ""
        aside += f" {len(self.dead):,} records were set aside." if self.dead else ""
        return f"{n} incident{'s' * (n != 1)} in {self.points:,} points ({span}); {still} still open.{asked}{aside}"


def duration(seconds: float) -> str:
    """Seconds in the one or two units that a person would say."""
    s = round(seconds)
    for size, unit, small, part in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if s >= size:
            rest = s % size // small
            return f"{s // size} {unit} {rest} {part}" if rest else f"{s // size} {unit}"
    return f"{s} s"


def minute(time_text: str) -> str:
    """An RFC 3339 time to the minute, as a table shows it."""
    return time_text[:16].replace("T", " ")
