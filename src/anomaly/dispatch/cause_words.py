"""What an alert says of likely causes: each in a sentence, what speaks for it and what against. Modest: they are likely, no
more.

What is not known is not said: that a resource was normal is not known here, only that nothing odd was seen.
"""

from collections.abc import Callable

from anomaly.config.models import Direction, Signal
from anomaly.correlate.evidence import EDGE, FULL, LINE, NETWORK, SILENT, SLOW
from anomaly.correlate.incident import Cause, Incident
from anomaly.detect.anomaly import Anomaly
from anomaly.detect.beside import Change
from anomaly.dispatch import step_words
from anomaly.dispatch.amounts import plain, span

NAME = 60  # characters of a name in a sentence
SHORT = 40  # in a title
LISTED = 50  # groups
PLACES = {  # kinds of facts as one says them; any other is said as it is called
    "service.version": "version", "k8s.node.name": "node", "host.name": "host", "cloud.availability_zone": "zone",
}  # fmt: skip

Finding = Callable[[Anomaly], str]


def shown(incident: Incident, finding: Finding) -> tuple[dict[str, object], ...]:
    """The ranked causes, as an alert has them; `finding` says what is wrong with one series."""
    return tuple(
        {
            "rank": rank,
            "service": plain(cause.service, NAME),
            "kind": plain(PLACES.get(cause.kind, cause.kind), NAME),
            "what": what(incident, cause),
            "evidence": evidence(incident, cause, finding),
            "against": against(cause),
        }
        for rank, cause in enumerate(incident.causes, 1)
    )


def what(incident: Incident, cause: Cause) -> str:
    """The cause in a sentence: who, what, where, and what was changed."""
    leading = incident.anomalies.get(cause.anomalies[0]) if cause.anomalies else None
    said = f"{plain(cause.service, NAME)}: {kind(cause, leading)}"
    if cause.is_place and cause.fact:
        said = f"{place(cause.fact)}, where {plain(cause.service, NAME)} and others run"
    elif cause.fact:
        said += f", in {place(cause.fact)}"
    return said + (f", {changed(cause.change, of_another(cause))}" if cause.change else "")


def kind(cause: Cause, leading: Anomaly | None) -> str:
    """What is wrong with a service."""
    if leading is None:
        return cause.kind
    if cause.kind == NETWORK:
        return "its network is slow" if leading.group == cause.service else "the ways to what it calls are slow"
    if step_words.is_steps(leading):
        return step_words.what(leading) + (f" ({plain(leading.code, NAME)})" if leading.code else "")
    labels = dict(leading.labels)
    if cause.kind == EDGE:
        operation, client = (plain(labels.get(name, ""), NAME) for name in ("span.name", "client"))
        return f"calls of {operation} by {client} are slow on the way"
    operation = f" in {plain(labels['span.name'], NAME)}" if "span.name" in labels else ""
    name = plain(leading.metric, NAME)
    said = {
        SILENT: "silent",
        FULL: f"{name} is near its end",
        LINE: f"log lines like “{plain(labels.get('template', leading.example), NAME)}”",
        SLOW: "slow",
    }.get(cause.kind) or trouble(leading)
    return said + operation + (f" ({plain(leading.code, NAME)})" if leading.code else "")


def trouble(anomaly: Anomaly) -> str:
    """What is odd about a metric that is no more than a metric."""
    if anomaly.quantity == "error ratio":
        return "requests fail"
    if anomaly.signal is Signal.LATENCY:
        return "slow"
    if anomaly.signal is Signal.TRAFFIC:
        return "traffic is missing" if anomaly.direction is Direction.BELOW else "more traffic than usual"
    return f"{plain(anomaly.quantity, NAME)} of {plain(anomaly.metric, NAME)}"


def evidence(incident: Incident, cause: Cause, finding: Finding) -> list[str]:
    """What speaks for it."""
    held = [incident.anomalies[name] for name in cause.anomalies if name in incident.anomalies]
    said = [f"{plain(a.group, NAME)}: {finding(a)}" for a in held]
    first, shows = cause.first
    if shows and 2 * first >= shows:
        said.append(f"the first odd step in {first} of the {shows} example traces in which it is odd")
    if cause.fact:
        _, _, ill, of, have, all_ = cause.fact
        said.append(f"{place(cause.fact)}: {ill} of the {of} that are ill, and {have} of {all_} in all")
    if cause.change:
        before = incident.groups[cause.service].first if cause.service in incident.groups else incident.started
        minutes = (before - cause.change.time) / 1000
        when = f"{span(minutes)} before" if minutes >= 0 else f"{span(-minutes)} after"
        said.append(f"{changed(cause.change, of_another(cause))}, {when} it began")
    return said


def against(cause: Cause) -> list[str]:
    """What speaks against it."""
    first, shows = cause.first
    said = [f"{names(cause.below)}, on which it depends, is ill as well"] if cause.below else []
    if shows and 2 * first < shows:
        said.append(f"the first odd step in only {first} of the {shows} example traces in which it is odd")
    if cause.later >= 1000:
        said.append(f"began {span(cause.later / 1000)} after the first sign")
    return said


def of_another(cause: Cause) -> str:
    """` of payment`, where that was changed, on which the cause depends, and not the cause itself."""
    group = cause.change.group if cause.change else ""
    return "" if group in ("", cause.service) else f" of {plain(group, SHORT)}"


def changed(change: Change, whose: str = "") -> str:
    """A change with its time: `deployment at 08:58 UTC: payment 2.3.0 → 2.3.1`."""
    minute = change.time // 60_000
    what = plain(change.what, NAME)
    return f"{plain(change.kind, NAME)}{whose} at {minute // 60 % 24:02d}:{minute % 60:02d} UTC" + (
        f": {what}" if what else ""
    )


def place(fact: tuple[str, str, int, int, int, int]) -> str:
    """`version v2`."""
    return f"{plain(PLACES.get(fact[0], fact[0]), NAME)} {plain(fact[1], NAME)}"


def called(cause: Cause) -> str:
    """It in a word or two."""
    return place(cause.fact) if cause.is_place and cause.fact else plain(cause.service, NAME)


def names(groups: tuple[str, ...], most: int = 5) -> str:
    """`web, cart and 3 more`."""
    said = ", ".join(plain(group, NAME) for group in groups[:most])
    return f"{said} and {len(groups) - most} more" if len(groups) > most else said


def briefly(incident: Incident, leading: Anomaly) -> str:
    """`payment (ERROR Pay.java:71, version v2)` for a title, of what that names only what is in brackets; nothing where it
    says no more than the title does."""
    cause = incident.causes[0] if incident.causes else None
    if cause is None or (cause.service == leading.group and not cause.fact and not cause.change):
        return ""
    if cause.is_place and cause.fact:
        return place(cause.fact)
    about = incident.anomalies.get(cause.anomalies[0]) if cause.anomalies else None
    short = {EDGE: "the way to it", NETWORK: "network"}.get(cause.kind, "")
    more = [short] if short else [step_words.briefly(about)] if about and step_words.is_steps(about) else []
    more += [place(cause.fact)] if cause.fact else []
    more += [plain(cause.change.kind, SHORT) + of_another(cause)] if cause.change else []
    if more and cause.service == leading.group:
        return ", ".join(more)
    return plain(cause.service, SHORT) + (f" ({', '.join(more)})" if more else "")


def concerned(incident: Incident) -> tuple[str, ...]:
    """The groups that are ill, the incident's own first; it alone where none is more than a little odd."""
    strong = [group for group, seen in incident.groups.items() if seen.last and group != incident.group]
    return incident.group, *sorted(strong)


def lines(incident: Incident, finding: Finding) -> list[str]:
    """The likeliest causes and who suffers, as lines of a message; nothing where the message is about one group alone."""
    groups = concerned(incident)
    causes = incident.causes[:3]
    if not causes or (len(groups) < 2 and not causes[0].fact and not causes[0].change and not causes[0].first[1]):
        return []
    said = ["likely causes, the likeliest first"]
    for rank, cause in enumerate(causes, 1):
        said.append(f"  {rank}. likely {what(incident, cause)}")
        said += [f"     for: {each}" for each in evidence(incident, cause, finding)[: 4 if rank == 1 else 1]]
        said += [f"     against: {each}" for each in against(cause)[: 2 if rank == 1 else 1]]
    if incident.systemic:
        said.append(f"systemic: {len(groups)} groups are ill, and nothing is known that most of them depend on")
    if incident.victims:
        said.append(f"victims, which call it: {names(incident.victims, 8)}")
    others = tuple(g for g in groups if g not in incident.victims and g != causes[0].service)
    if others:
        said.append(f"also ill: {names(others, 8)}")
    return [*said, ""]


def traces(incident: Incident, most: int = 10) -> tuple[str, ...]:
    """Example traces, those of the likeliest cause first."""
    of = incident.causes[0].anomalies if incident.causes else ()
    first = [trace for name in of if name in incident.anomalies for trace, _ in incident.anomalies[name].traces]
    return tuple(plain(trace, NAME) for trace in list(dict.fromkeys([*first, *incident.traces]))[:most])


def changes(incident: Incident) -> tuple[str, ...]:
    """What was changed shortly before it, of those that may be its cause."""
    found = {c.change.id: c.change for c in incident.causes if c.change}
    return tuple(changed(c) for c in sorted(found.values(), key=lambda c: (-c.time, c.id)))
