"""Change events as points: what somebody deployed, configured, switched or scaled, each a point of the metric `change`.

`change_json` reads the published schema `anomaly.change/1` (docs/changes.md): an object a record, several as a list or a
line each. What is unknown is kept as a label where it is a text, a number or a truth, else left out: people send what their
pipeline has. A change without a time has its record's.
What was changed is in labels, ours and those of what it is about (`service.version`, `k8s.node.name`), and the service is
the group; so all that carries points carries changes. Each is marked `Flag.CHANGE`: detect takes them out, judges nothing
by them. Nor do they tell the time, since a source of changes may be silent for days: `Decoded.tells_time`.
"""

from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

import numpy as np
import orjson

from anomaly.decode.catalog import Catalog, Description
from anomaly.decode.encodings import Decoded, Parsed, Sample, register
from anomaly.decode.json_logs import events
from anomaly.decode.points import Flag, Kind
from anomaly.decode.records import BadRecord, Records
from anomaly.decode.secrets import Secrets
from anomaly.decode.text import epoch, instant

ENCODING, SCHEMA, SCHEMA_FILE = "change_json", "anomaly.change/1", "anomaly.change.1.json"
METRIC = "change"
KIND, WHAT, BY, LINK = "change.kind", "change.what", "change.by", "change.link"
VERSION, ENVIRONMENT = "service.version", "deployment.environment.name"
KINDS = ("deployment", "config", "flag", "scaling", "restart", "node", "other")  # that others may add to
TEXT, MOST_LABELS = 200, 16  # characters of a text, and further labels, that are kept
READ = 2_000  # characters of a text that are searched for secrets
OWN = frozenset({"schema", "time", "kind", "what", "service", "environment", "version", "by", "link", "labels"})

_secrets = Secrets()


def change(kind: str, what: str, about: Mapping[str, str], time: int) -> Sample:
    """A change as a point; `about` are attributes of the service and of what was changed."""
    said = {**about, KIND: kind, WHAT: what}
    shown = {k: _secrets.hide(v[:READ])[:TEXT] for k, v in said.items()}
    return Sample(Description(METRIC, "", shown, Kind.DELTA), time, 1.0, flags=Flag.CHANGE)


def parse(value: bytes) -> Iterator[Sample]:
    """The changes of a record."""
    try:
        yield from map(_read, events(value))
    except RecursionError:
        raise BadRecord("bad_json", "nested too deep") from None


def _read(event: Mapping[str, Any]) -> Sample:
    if event.get("schema", SCHEMA) != SCHEMA:
        raise BadRecord("bad_change", f"schema {event['schema']!r:.60}, and this program reads {SCHEMA}")
    what, version = _text(event, "what"), _text(event, "version")
    kind = _text(event, "kind").lower() or "other"
    if not what and not version:
        raise BadRecord("bad_change", "neither `what` nor `version` says what was changed")
    service = _text(event, "service")
    about = _more(event) | _service(service) | {ENVIRONMENT: _text(event, "environment"), VERSION: version}
    about |= {BY: _text(event, "by"), LINK: _text(event, "link")}
    return change(kind, what or f"{service} {version}".strip(), {k: v for k, v in about.items() if v}, _time(event))


def _text(event: Mapping[str, Any], key: str) -> str:
    value = event.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, str | int | float)):
        raise BadRecord("bad_change", f"`{key}` is a {type(value).__name__}, not a text")
    return "" if value is None else str(value).strip()


def _service(name: str) -> dict[str, str]:
    """A service as alerts name it: `namespace/name`, or its name alone."""
    namespace, slash, own = name.rpartition("/")
    return {"service.namespace": namespace, "service.name": own} if slash else {"service.name": name}


def _more(event: Mapping[str, Any]) -> dict[str, str]:
    """What else is said, flat or under `labels`; names of ours are not taken from there."""
    held = event.get("labels")
    given = {**{k: v for k, v in event.items() if k not in OWN}, **(held if isinstance(held, dict) else {})}
    plain = {k: v for k, v in given.items() if isinstance(v, str | int | float) and not k.startswith(f"{METRIC}.")}
    return {k: v if isinstance(v, str) else orjson.dumps(v).decode() for k, v in sorted(plain.items())[:MOST_LABELS]}


def _time(event: Mapping[str, Any]) -> int:
    value = event.get("time")
    if isinstance(value, str) and value:
        return instant(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return epoch(value)
    if value is None or value == "":
        return 0
    raise BadRecord("bad_timestamp", f"{value!r:.80}")


def timed(decoded: Decoded, records: Records) -> Decoded:
    """A change that says no time is of its record's."""
    points = decoded.points
    if len(points):
        points.time = np.where(points.time > 0, points.time, np.maximum(records.time[points.record], 0))
    return decoded


@register(ENCODING)
class ChangeJson(Parsed):
    """Changes as JSON."""

    def __init__(self) -> None:
        super().__init__(parse)

    def decode(self, records: Records, catalog: Catalog) -> Decoded:
        """Parse record by record; one that cannot be read gives no change at all."""
        decoded = timed(super().decode(records, catalog), records)
        decoded.tells_time = False
        return decoded


def published_schema() -> bytes:
    """The JSON Schema of a change, as it is shipped with the package."""
    return (files("anomaly.decode") / "schemas" / SCHEMA_FILE).read_bytes()
