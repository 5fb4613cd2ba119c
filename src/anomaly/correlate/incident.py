"""An incident: the anomalies of one problem."""

from enum import StrEnum

from msgspec import Struct

from anomaly.detect.anomaly import Anomaly


class State(StrEnum):
    """Where an incident stands."""

    OPEN = "open"
    RESOLVED = "resolved"


class Incident(Struct, kw_only=True):
    """The anomalies that belong together, as they stand at `time` (ms of event time).

    `dedup_key` is stable for the incident's life: a hash of environment, group and the id of its first anomaly.
    `anomalies` holds the latest form of each, by id, in order of first sight, open and closed ones alike.
    `quiet_since` is when the last open one closed, None while any is open.
    """

    dedup_key: str
    environment: str
    group: str
    started: int
    time: int
    state: State
    anomalies: dict[str, Anomaly]
    quiet_since: int | None = None
    change: int = 0  # number of alerts sent about it
    last: str = ""  # what the last alert said that a change is measured by (see dispatch.alert)
