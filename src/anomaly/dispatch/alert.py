"""An alert: the message about an incident to people, in the shape of the published schema `anomaly.alert/1`."""

from enum import StrEnum

from msgspec import Struct, field

SCHEMA = "anomaly.alert/1"


class Severity(StrEnum):
    """How much it matters: critical pages, warning is a ticket, info a record."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


class What(StrEnum):
    """Which message about the incident this is."""

    TRIGGER = "trigger"
    UPDATE = "update"
    RESOLVE = "resolve"


class Evidence(Struct, frozen=True, kw_only=True):
    """One anomaly as an alert shows it: values in `unit`, times in RFC 3339."""

    series: dict[str, str]
    quantity: str
    unit: str
    expected: tuple[float, float]
    observed: float
    score: float
    started_at: str
    ended_at: str | None
    points: tuple[tuple[str, float], ...]
    text: str


class Alert(Struct, frozen=True, kw_only=True):
    """See the schema for the meaning of each field. `id` is a hash of `dedup_key` and the change's number."""

    schema: str = SCHEMA
    event: What
    id: str
    dedup_key: str
    time: str
    severity: Severity
    why: str
    title: str
    text: str
    environment: str
    group: str
    started_at: str
    ended_at: str | None
    confidence: str
    causes: tuple[dict[str, object], ...] = ()
    impact: dict[str, object] = field(default_factory=dict)
    evidence: tuple[Evidence, ...] = ()
    traces: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    links: dict[str, str] = field(default_factory=dict)
    reduced_by: tuple[str, ...] = ()
