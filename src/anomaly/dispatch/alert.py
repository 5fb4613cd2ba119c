"""An alert: the message about an incident to people, in the shape of the published schema `anomaly.alert/1`.

On Kafka the body is its JSON and the headers are the attributes of a CloudEvent (binary mode), so that a router need not
open the body.
"""

from enum import StrEnum
from importlib.resources import files

import msgspec
from msgspec import Struct, field

SCHEMA = "anomaly.alert/1"
SCHEMA_FILE = "anomaly.alert.1.json"
DATASCHEMA = "urn:anomaly:schema:anomaly.alert:1"  # `$id` of the schema
SOURCE = "urn:anomaly:dispatch"


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
    """One anomaly as an alert shows it: values in `unit`, times in RFC 3339; None is a bound that is not known."""

    series: dict[str, str]
    quantity: str
    unit: str
    expected: tuple[float | None, float | None]
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
    would: str = ""  # the severity but for the shadow that the team is in


def encode(alert: Alert) -> bytes:
    """The alert as JSON."""
    return msgspec.json.encode(alert)


def decode(body: bytes) -> Alert:
    """The alert of a JSON body; raises msgspec.DecodeError (or its ValidationError) if it is none."""
    return msgspec.json.decode(body, type=Alert)


def cloudevent(alert: Alert) -> dict[str, bytes]:
    """Kafka headers: the attributes of CloudEvents 1.0 in binary mode."""
    attributes = {
        "ce_specversion": "1.0",
        "ce_id": alert.id,
        "ce_source": SOURCE,
        "ce_type": f"anomaly.alert.{alert.event.value}",
        "ce_time": alert.time,
        "ce_subject": alert.group,
        "ce_dataschema": DATASCHEMA,
        "content-type": "application/json",
    }
    return {name: value.encode("utf-8", "replace") for name, value in attributes.items() if value}


def published_schema() -> bytes:
    """The JSON Schema of an alert, as it is shipped."""
    return (files("anomaly.dispatch") / "schemas" / SCHEMA_FILE).read_bytes()
