"""Whether an incident is alerted, now: one trigger, an update when something material changes, one resolve.

Material is what changes what a person does: the severity rose, the leading evidence is of a more telling kind, other groups
are concerned. A number that moved is not. Both only rise while the incident lasts: what falls a little and comes back would
call people twice for nothing, and whoever looks sees the current value anyway.
"""

from collections import Counter

from anomaly.config.settings import Settings
from anomaly.correlate.incident import Incident, State
from anomaly.detect.anomaly import Anomaly
from anomaly.dispatch.alert import Alert, Severity, What
from anomaly.dispatch.compose import compose
from anomaly.dispatch.severity import ORDER, REMOVED, Verdict, matters, most_telling, rank, verdict

BELOW_THRESHOLD = "below_threshold"  # an incident that has not come to an alert
UNCHANGED = "nothing_material_changed"  # a change of an alerted incident that is no news to people


class Dispatcher:
    """Decides about incidents; what people have been told is kept in the incidents. `suppressed` counts by reason."""

    def __init__(self, settings: Settings) -> None:
        self.threshold = settings.threshold.alert
        self.suppressed: Counter[str] = Counter()
        self._links = settings.links

    def matters(self, anomaly: Anomaly) -> bool:
        """Whether the anomaly is enough for an alert, and so keeps its incident open."""
        return matters(anomaly, self.threshold)

    def decide(self, incident: Incident) -> Alert | None:
        """The alert that the incident's change calls for, if any. Called once for each snapshot, in order."""
        if incident.told.change == 0:
            return None if incident.state is State.RESOLVED else self._first(incident)
        if incident.state is State.RESOLVED:
            return self._say(incident, What.RESOLVE, Severity(incident.told.severity), self._ended(incident), "")
        return self._again(incident)

    def _first(self, incident: Incident) -> Alert | None:
        judged = self._judge(incident)
        if judged is None:
            self._suppress_once(incident, BELOW_THRESHOLD)
            return None
        told = incident.told
        told.reason, told.severity, told.groups = "", judged.severity.value, (incident.group,)
        told.rank = rank(judged.decisive)
        return self._say(incident, What.TRIGGER, judged.severity, judged.why, "")

    def _again(self, incident: Incident) -> Alert | None:
        judged, told = self._judge(incident), incident.told
        news = self._news(incident, judged) if judged else ""
        if judged is None or not news:
            self.suppressed[UNCHANGED] += 1
            return None
        before = Severity(told.severity)
        severity = max(before, judged.severity, key=ORDER.index)
        told.severity, told.rank = severity.value, min(told.rank, rank(judged.decisive))
        told.groups = (incident.group,)
        why = judged.why if severity is judged.severity else f"{judged.why}; {severity.value} since before, and not lowered"
        return self._say(incident, What.UPDATE, severity, why, news)

    def _news(self, incident: Incident, judged: Verdict) -> str:
        """What is material about the change, in words; nothing if nothing is."""
        told, news = incident.told, []
        if ORDER.index(judged.severity) > ORDER.index(Severity(told.severity)):
            news.append(f"severity {told.severity} → {judged.severity.value}")
        if rank(judged.decisive) < told.rank:
            news.append("more telling evidence leads now")
        if (incident.group,) != told.groups:
            news.append("other groups are concerned")
        return ", ".join(news)

    def _judge(self, incident: Incident) -> Verdict | None:
        """By the anomaly that changed: all others have been judged, and what was said of them stands.

        One that found no room among the incident's strongest is no news.
        """
        latest = incident.anomalies.get(incident.latest)
        return verdict([latest], self.threshold) if latest else None

    def _say(self, incident: Incident, what: What, severity: Severity, why: str, news: str) -> Alert:
        told = incident.told
        told.change += 1
        began = min((a.started for a in incident.anomalies.values() if self.matters(a)), default=incident.started)
        told.started = min(began, told.started or began)
        telling = most_telling(list(incident.anomalies.values()), self.threshold)
        return compose(incident, what, severity, why, news, telling, self.threshold, self._links)

    def _ended(self, incident: Incident) -> str:
        """Why it is over."""
        mattered = [a for a in incident.anomalies.values() if self.matters(a)]
        if mattered and all(a.reason == REMOVED for a in mattered):
            return "the series were removed, and nothing else of the group is wrong"
        if len(mattered) == 1:
            return "the anomaly has ended and did not come back"
        all_of_them = "both" if len(mattered) == 2 else f"all {len(mattered)}"
        return f"{all_of_them} anomalies that mattered have ended and did not come back"

    def _suppress_once(self, incident: Incident, reason: str) -> None:
        """Count an incident once for a reason, not at each of its changes."""
        if incident.told.reason != reason:
            incident.told.reason = reason
            self.suppressed[reason] += 1
