"""An incident: the anomalies of one problem."""

from enum import StrEnum

from msgspec import Struct, field

from anomaly.detect.anomaly import Anomaly


class State(StrEnum):
    """Where an incident stands."""

    OPEN = "open"
    RESOLVED = "resolved"


class Told(Struct, kw_only=True):
    """What people have been told about an incident; written by dispatch, which measures a change by it.

    `change` is the number of alerts sent. `reason` says why none was, while none was.
    """

    change: int = 0
    severity: str = ""
    rank: int = 0  # how telling the leading evidence was, 0 the most (see dispatch.severity)
    groups: tuple[str, ...] = ()
    started: int = 0
    named: bool = False  # instances that are odd among their peers
    reason: str = ""
    budget: str = ""  # what the incident is to the alert budget (see dispatch.budget)
    silenced: str = ""  # the silence for which nobody was told of its last change
    would: str = ""  # the severity but for the shadow that the team is in
    peak: float = 0.0  # the greatest score so far of what statistics speak for
    evident: bool = False  # whether that is evidence enough for the alert budget
    surprise: float = 0.0  # the greatest so far, in decades of a rate per week; counts once there is a peak
    reached: int = 0  # levels of the fleet's tail that it was counted at


class Incident(Struct, kw_only=True):
    """The anomalies that belong together, as they stand at `time` (ms of event time).

    `dedup_key` is stable for the incident's life: a hash of environment, group and the id of its first anomaly.
    `anomalies` holds the latest form of the strongest, by id, in order of first sight, open and closed ones alike; `more`
    counts those that found no room, and `waiting` names the open ones of these, which keep the incident open all the same.
    `latest` is the id of the one that changed last: what is new about the incident is new about that one.
    `quiet_since` is when the last open one closed, None while any is open.
    A snapshot has anomalies of its own and shares `told` with the incident it was taken of.
    """

    dedup_key: str
    environment: str
    group: str
    started: int
    time: int
    state: State
    anomalies: dict[str, Anomaly]
    latest: str = ""
    more: int = 0
    waiting: dict[str, tuple[int, int]] = field(default_factory=dict)  # id -> its last event: time, kind
    quiet_since: int | None = None
    told: Told = field(default_factory=Told)
    kind: str = ""  # of its anomalies: what lasts for weeks is an incident of its own
