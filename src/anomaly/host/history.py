"""What a replay gave: the incidents that would have been alerted, each with its alerts, and how a person would say it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from anomaly.correlate.incident import Incident
from anomaly.decode.block import Block
from anomaly.decode.records import DeadLetter
from anomaly.dispatch.alert import Alert, Severity, What
from anomaly.host.labelled import Track, Verdicts, iso, ms


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
    def lasted(self) -> str:
        """How long, in words."""
        ended = self.last.ended_at or self.last.time
        return "still open" if self.open else duration((ms(ended) - ms(self.first.started_at)) / 1000)


@dataclass(slots=True)
class History:
    """The whole replay. `series` are the tracks of the plain series, by (group, metric)."""

    files: Sequence[str]
    alerts: list[Alert] = field(default_factory=list)
    cases: dict[str, Case] = field(default_factory=dict)  # by dedup_key, in order of their first alert
    points: int = 0
    dead: list[DeadLetter] = field(default_factory=list)
    begins: int = 0  # event time, ms
    ends: int = 0
    series: dict[tuple[str, str], Track] = field(default_factory=dict)
    seen: dict[str, dict[int, float]] = field(default_factory=dict)  # points of what is no plain series, by anomaly
    verdicts: Verdicts | None = None

    def take(self, changed: Iterable[tuple[Incident, Alert | None]]) -> None:
        """Keep the alerts, of each alerted incident its latest form, and the points that came as evidence."""
        for incident, alert in changed:
            for anomaly in incident.anomalies.values():
                if (anomaly.group, anomaly.metric) not in self.series:
                    self.seen.setdefault(anomaly.id, {}).update(anomaly.points)
            if alert:
                self.alerts.append(alert)
                self.cases.setdefault(incident.dedup_key, Case([], incident)).alerts.append(alert)
            if incident.dedup_key in self.cases:
                self.cases[incident.dedup_key].incident = incident

    def heard(self, blocks: Iterable[tuple[int, Block]]) -> None:
        """Count the points and how far they reach."""
        for _, block in blocks:
            if len(block.points):
                earliest = int(block.points.time.min())
                self.begins = min(earliest, self.begins or earliest)
                self.ends = max(int(block.points.time.max()), self.ends)
                self.points += len(block.points)

    def counts(self) -> dict[str, object]:
        """In numbers."""
        cases = self.cases.values()
        told: dict[str, object] = {
            "files": len(self.files),
            "points": self.points,
            "dead_letters": len(self.dead),
            "incidents": len(cases),
            "still_open": sum(case.open for case in cases),
            "alerts": {what.value: sum(a.event is what for a in self.alerts) for what in What},
            "severity": {severity.value: sum(case.worst is severity for case in cases) for severity in Severity},
        }
        return told | (self.verdicts.counts() if self.verdicts else {})

    def sentence(self) -> str:
        """In words."""
        n, still = len(self.cases), sum(case.open for case in self.cases.values())
        span = f"{minute(iso(self.begins))} to {minute(iso(self.ends))} UTC" if self.points else "no data"
        aside = f" {len(self.dead):,} records were set aside." if self.dead else ""
        return f"{n} incident{'s' * (n != 1)} in {self.points:,} points ({span}); {still} still open.{aside}"


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
