"""What an incident's unusual sequences and durations amount to together, and what is news about its groups and its cause.

None of them alone may be enough for an alert: a service with little traffic has few traces. The strongest and half of the
next ones are, from TOGETHER on, as a ticket. An update that only says of other groups, of another cause, or of a better
reason for the same one, is sent once they have settled (`correlate.cause`), and MOST times of an incident at most.
"""

from anomaly.correlate.evidence import TOGETHER, strength
from anomaly.correlate.incident import Cause, Incident, is_strong
from anomaly.detect.anomaly import Anomaly
from anomaly.dispatch.alert import Severity
from anomaly.dispatch.cause_words import called, concerned, names
from anomaly.dispatch.severity import IN_SHADOW, Verdict
from anomaly.dispatch.step_words import is_steps

MOST = 8
BETTER = 1.5  # times the evidence that led before; less would call people at each turn
RECENT = 60_000  # ms after its end that an odd step still counts: few traces come by in which it could show
WHY = "unusual sequences or durations in traces, more than {least:g} together (evidence {score:.1f})"


def together(incident: Incident, shadow: bool) -> Verdict | None:
    """What those of them that last give."""
    odd = [a for a in incident.anomalies.values() if is_steps(a) and is_strong(a) and lasts(a, incident.time)]
    if (score := strength(odd)) <= TOGETHER:
        return None
    decisive, why = max(odd, key=lambda a: (a.score, a.id)), WHY.format(least=TOGETHER, score=score)
    if shadow:
        why = IN_SHADOW.format(severity=Severity.WARNING.value) + why
        return Verdict(Severity.INFO, why, decisive, would=Severity.WARNING)
    return Verdict(Severity.WARNING, why, decisive)


def lasts(anomaly: Anomaly, now: int) -> bool:
    """Whether it is not over, or only just."""
    return anomaly.ended is None or anomaly.ended >= now - RECENT


def news(incident: Incident) -> list[str]:
    """What is new about its groups and its first cause, in words."""
    told, found = incident.told, list[str]()
    if told.widened >= MOST:
        return found
    known = set(told.groups)
    new = () if incident.widened else tuple(group for group in concerned(incident) if group not in known)
    if new:
        found.append(f"also concerned: {names(new)}")
    cause = incident.causes[0] if incident.causes else None
    if cause and told.cause and cause.name != told.cause and cause.strength > TOGETHER:
        found.append(f"the likely cause is {called(cause)} now")
    if cause and is_better(incident, cause):
        found.append("another reason for the likely cause leads now")
    return found


def is_better(incident: Incident, cause: Cause) -> bool:
    """Whether something else in traces leads the evidence for the cause that people were told of, and by far."""
    told, lead = incident.told, incident.anomalies.get(cause.anomalies[0])
    if lead is None or not is_steps(lead) or incident.widened or cause.strength <= TOGETHER:
        return False
    before = incident.anomalies.get(told.leading)
    is_other = told.cause == cause.name and told.leading not in ("", lead.id)
    return is_other and (before is None or lead.score >= BETTER * before.score)


def note(incident: Incident) -> None:
    """They are told now."""
    told = incident.told
    told.groups = tuple(dict.fromkeys([*told.groups, *concerned(incident)]))
    if incident.causes:
        told.cause, told.leading = incident.causes[0].name, incident.causes[0].anomalies[0]
