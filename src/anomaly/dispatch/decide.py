"""Whether an incident is alerted, now: one trigger, an update when something material changes, one resolve.

Material is what changes what a person does: the severity rose, the leading evidence is of a more telling kind, other groups
are concerned. A number that moved is not. Both only rise while the incident lasts: what falls a little and comes back would
call people twice for nothing, and whoever looks sees the current value anyway.

Of what is silenced nobody is told; when the silence is over and the trouble lasts they are (`again`). The end of what was
told is always told.
"""

from collections import Counter
from collections.abc import Sequence

from msgspec import structs

from anomaly.command.commands import Commands
from anomaly.config.settings import Settings
from anomaly.correlate.incident import Incident, State
from anomaly.detect.anomaly import REMOVED, Anomaly
from anomaly.detect.odd import UNSEEN
from anomaly.dispatch import together
from anomaly.dispatch.alert import Alert, Severity, What
from anomaly.dispatch.budget import ALONE, HELD, UNDER, UNLIMITED, Budget
from anomaly.dispatch.budgets import Budgets
from anomaly.dispatch.compose import compose
from anomaly.dispatch.quiet import CALM, LATEST, NOTHING_SAID, Teams, silenced
from anomaly.dispatch.severity import (
    ORDER,
    Verdict,
    is_silence,
    is_statistical,
    louder,
    matters,
    most_telling,
    rank,
    verdict,
)

BELOW_THRESHOLD = "below_threshold"  # an incident that has not come to an alert
UNCHANGED = "nothing_material_changed"  # a change of an alerted incident that is no news to people
SILENCED = "silenced"

REDUCED = {  # why a page became a ticket, by what the incident is to the alert budget
    HELD: "budget: the pages that statistics may send are spent",
    UNDER: "budget: such things happen too often here to page for them",
    ALONE: "budget: one value says so; a page takes a second one",
}


class Dispatcher:
    """Decides about incidents; what people have been told is kept in the incidents. `suppressed` counts by reason."""

    def __init__(self, settings: Settings) -> None:
        self.threshold = settings.threshold.alert
        self.suppressed: Counter[str] = Counter()
        self._links, self._teams = settings.links, Teams(settings.shadow)

    def matters(self, anomaly: Anomaly) -> bool:
        """Whether the anomaly is enough for an alert."""
        return matters(anomaly, self.threshold)

    def holds(self, anomaly: Anomaly) -> bool:
        """Whether it keeps its incident open."""
        return self.matters(anomaly) and not anomaly.supports

    def decide(self, incident: Incident, budgets: Budgets, commands: Commands = NOTHING_SAID) -> Alert | None:
        """The alert that the incident's change calls for, if any. Called once for each snapshot, in order.

        `budgets` and `commands` are those of the partition that the incident is of. It is judged by the anomaly that
        changed: all others have been, and what was said of them stands. One that found no room among the strongest is no
        news.
        """
        told = incident.told
        if incident.state is State.RESOLVED:
            over = told.change and self._say(incident, What.RESOLVE, Severity(told.severity), self._ended(incident), "")
            return over or None
        latest = incident.anomalies.get(incident.latest)
        if latest is None and told.silenced:
            return None
        return self._tell(incident, [latest] if latest else [], budgets, commands, LATEST)

    def again(self, incident: Incident, budgets: Budgets, commands: Commands) -> Alert | None:
        """The alert about what lasts, if any is due now that a silence is over, or a team was switched."""
        lasting = [a for a in incident.anomalies.values() if a.ended is None]
        return self._tell(incident, lasting, budgets, commands, CALM) if lasting else None

    def _tell(
        self, incident: Incident, anomalies: Sequence[Anomaly], budgets: Budgets, commands: Commands, points: int
    ) -> Alert | None:
        """Judge the incident by these of its anomalies, as far as nobody silenced them, now or some points ago."""
        time = commands.as_of(incident.time)
        muted = {a.id: why for a in anomalies if (why := silenced(commands, a, time, points))}
        over = {a.id for a in anomalies if a.ended is not None and incident.told.silenced}  # nobody knows that it began
        heard = [a for a in anomalies if a.id not in muted and a.id not in over]
        if not heard and (muted or over):
            self._mute(incident, max(muted.values(), default=incident.told.silenced))
            return None
        shadow = self._teams.in_shadow(commands, incident.environment, incident.group, time)
        judged = self._judge(incident, heard, budgets.of(incident.environment, incident.group), shadow)
        return self._again(incident, judged) if incident.told.change else self._first(incident, judged)

    def _mute(self, incident: Incident, why: str) -> None:
        """Note why nobody is told, and count the incident once for each silence."""
        told = incident.told
        self.suppressed[SILENCED] += told.silenced != why
        told.silenced, told.reason = why, told.reason if told.change else SILENCED

    def _first(self, incident: Incident, judged: Verdict | None) -> Alert | None:
        if judged is None:
            self._suppress_once(incident, BELOW_THRESHOLD)
            return None
        told = incident.told
        told.reason, told.severity = "", judged.severity.value
        told.rank, told.would = rank(judged.decisive), would_be(judged)
        return self._say(incident, What.TRIGGER, judged.severity, judged.why, "")

    def _again(self, incident: Incident, judged: Verdict | None) -> Alert | None:
        told = incident.told
        news, wider = self._news(incident, judged) if judged else "", together.news(incident)
        if not news and not wider:
            self.suppressed[UNCHANGED] += 1
            return None
        before = Severity(told.severity)
        told.widened += not news
        news = ", ".join(filter(None, (news, *wider)))
        if judged is None:
            return self._say(incident, What.UPDATE, before, f"{before.value} since before", news)
        severity = max(before, judged.severity, key=ORDER.index)
        told.severity, told.rank = severity.value, min(told.rank, rank(judged.decisive))
        told.would = louder(told.would, would_be(judged))
        why = judged.why if severity is judged.severity else f"{judged.why}; {severity.value} since before, and not lowered"
        return self._say(incident, What.UPDATE, severity, why, news)

    def _news(self, incident: Incident, judged: Verdict) -> str:
        """What is material about the change, in words; nothing if nothing is."""
        told, news = incident.told, []
        if ORDER.index(judged.severity) > ORDER.index(Severity(told.severity)):
            news.append(f"severity {told.severity} → {judged.severity.value}")
        elif judged.would and louder(felt(incident), judged.would) != felt(incident):
            news.append(f"it would be {judged.would.value} now")
        if rank(judged.decisive) < told.rank:
            news.append("more telling evidence leads now")
        if judged.decisive.peers and not told.named:
            news.append("an instance is odd among its peers")
        return ", ".join(news)

    def _judge(
        self, incident: Incident, anomalies: Sequence[Anomaly], budget: Budget | None, shadow: bool
    ) -> Verdict | None:
        """By the table, and what is odd in traces together. In shadow the budget is used up as if it paged."""
        if budget is None:
            return verdict(anomalies, self.threshold, shadow=shadow) or together.together(incident, shadow)
        for anomaly in anomalies:
            if anomaly.bad or is_silence(anomaly):
                budget.confirm(incident, anomaly)
            elif is_statistical(anomaly):
                budget.note(incident, anomaly)
        paged = felt(incident) == Severity.CRITICAL
        judged = verdict(anomalies, self.threshold, UNLIMITED if paged else budget.standing(incident), shadow)
        if judged and judged.budget and not paged:
            budget.settle(incident, judged.budget)
        return judged or together.together(incident, shadow)

    def _say(self, incident: Incident, what: What, severity: Severity, why: str, news: str) -> Alert:
        told = incident.told
        told.change += 1
        together.note(incident)
        told.named = told.named or any(a.peers and self.matters(a) for a in incident.anomalies.values())
        began = min((a.started for a in incident.anomalies.values() if self.matters(a)), default=incident.started)
        told.started = min(began, told.started or began)
        telling = most_telling(list(incident.anomalies.values()), self.threshold)
        would = told.would if severity is Severity.INFO else ""
        reduced = [REDUCED.get(told.budget, "")] if severity is not Severity.CRITICAL else []
        reduced += [f"shadow: else it would be {would}"] if would else []
        said = tuple(filter(None, reduced))
        told.silenced = ""
        alert = compose(incident, what, severity, why, news, telling, self.threshold, self._links, said)
        return structs.replace(alert, would=would)

    def _ended(self, incident: Incident) -> str:
        """Why it is over."""
        if incident.merged:
            return f"it is one problem with another incident, which goes on as {incident.merged}"
        mattered = [a for a in incident.anomalies.values() if self.matters(a)]
        if mattered and all(a.reason == REMOVED for a in mattered):
            return "the series were removed, and nothing else of the group is wrong"
        if any(a.reason == UNSEEN for a in mattered):
            return "no traces come by any more that could show it; whether it is over is not known"
        if len(mattered) == 1:
            return "the anomaly has ended and did not come back"
        all_of_them = "both" if len(mattered) == 2 else f"all {len(mattered)}"
        return f"{all_of_them} anomalies that mattered have ended and did not come back"

    def _suppress_once(self, incident: Incident, reason: str) -> None:
        """Count an incident once for a reason, not at each of its changes."""
        if incident.told.reason != reason:
            incident.told.reason = reason
            self.suppressed[reason] += 1


def would_be(judged: Verdict) -> str:
    """The severity but for the shadow; nothing where there is none."""
    return judged.would.value if judged.would else ""


def felt(incident: Incident) -> str:
    """The severity that an incident was told with, or would have been but for the shadow."""
    return louder(incident.told.severity, incident.told.would)
