"""Log lines as JSON, an object per line, as Fluent Bit, Vector and Filebeat write them to Kafka: the encoding `json_logs`.

A record holds an object, several of them a line each, or a list of them. Nobody's schema is asked for; what is looked for:
- the line, under LINE; a `log` that is a map is Filebeat's (`log.level`), one that is a text is the line of Fluent Bit. A
  line that is JSON itself, as containers write it, is read once more, and what it says of level, time and service counts;
- when, under TIME: written out, or a number of seconds, milliseconds, microseconds or nanoseconds since the epoch, by its
  size; a time that cannot be read is none, and the record's counts;
- the level, under LEVEL, by name or number;
- which trace and span it is of, in hex, under TRACE and SPAN, and where in the source it was written (`code.*`);
- who wrote it: OpenTelemetry's names are taken as they are, flat or nested, and for others there is the list WHO.
Source: the shippers' documentation of their Kafka outputs; `pino` and syslog for levels that are numbers.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from anomaly.decode.catalog import Catalog
from anomaly.decode.encodings import Decoded, register
from anomaly.decode.log_lines import BY_NAME, Line, Lines, level_named
from anomaly.decode.otlp_logs_scan import UNSAID
from anomaly.decode.records import BadRecord, DeadLetter, Records
from anomaly.decode.spans import NANOSECONDS, hexadecimal, number_of, trace_of
from anomaly.decode.steps_lines import FILE_NAMES, FUNCTION_NAMES, LINE_NAMES, Session, place_in
from anomaly.decode.text import epoch, instant, utf8

LINE = ("message", "log", "body", "msg", "event.original", "event", "short_message", "MESSAGE")
TIME = ("@timestamp", "timestamp", "time", "ts", "date", "timeUnixNano", "observedTimeUnixNano")
LEVEL = ("level", "severity", "log.level", "severityText", "severity_text", "levelname", "lvl", "loglevel", "PRIORITY")
# What identity knows <- where it may stand, the first that is there.
WHO = {
    "service.name": (
        "service.name", "service", "app", "application", "fields.service", "resources.service.name",
        "kubernetes.labels.app.kubernetes.io/name", "kubernetes.labels.app_kubernetes_io/name", "kubernetes.labels.app",
        "kubernetes.container_name", "kubernetes.container.name", "container_name", "container.name", "SYSLOG_IDENTIFIER",
        "appname",
    ),
    "service.namespace": ("service.namespace",),
    "service.instance.id": ("service.instance.id",),
    "deployment.environment.name": (
        "deployment.environment.name", "deployment.environment", "service.environment", "environment", "env",
    ),
    "k8s.namespace.name": ("k8s.namespace.name", "kubernetes.namespace_name", "kubernetes.namespace"),
    "k8s.pod.name": ("k8s.pod.name", "kubernetes.pod_name", "kubernetes.pod.name"),
    "host.name": ("host.name", "host", "hostname", "_HOSTNAME", "agent.hostname"),
}  # fmt: skip
TRACE = ("trace_id", "traceId", "traceid", "trace.id", "TraceId", "traceID", "otelTraceID")
SPAN = ("span_id", "spanId", "spanid", "span.id", "SpanId", "spanID", "otelSpanID")
CODE = (*FILE_NAMES, *LINE_NAMES, *FUNCTION_NAMES, "code.namespace")
RESOURCE = ("resource.attributes", "resource")  # where OpenTelemetry's attributes may stand as a map
DEEPEST = 2  # a line within a line


def found(event: Mapping[str, Any], name: str) -> Any:
    """What stands under a dotted name, flat or nested; None if nothing does."""
    if name in event:
        return event[name]
    head, dot, rest = name.partition(".")
    while dot:
        inner = event.get(head)
        if isinstance(inner, dict) and (value := found(inner, rest)) is not None:
            return value
        more, dot, rest = rest.partition(".")
        head = f"{head}.{more}"
    return None


def first(event: Mapping[str, Any], names: tuple[str, ...], kinds: tuple[type, ...]) -> Any:
    """The first under one of these names that is of one of these kinds, and not empty."""
    for name in names:
        value = found(event, name)
        if isinstance(value, kinds) and not isinstance(value, bool) and value != "":
            return value
    return None


def line(event: Mapping[str, Any], session: Session | None = None, depth: int = 0) -> Line:
    """One object as a line; BadRecord if it holds none."""
    wrapped = event.get("log")
    if len(event) == 1 and isinstance(wrapped, dict):  # Vector's native form
        event = wrapped
    text = first(event, LINE, (str, dict))
    if text is None:
        raise BadRecord("no_message", f"none of {', '.join(LINE)}")
    inner = nested(text) if depth < DEEPEST else None
    if inner is None:
        said = text if isinstance(text, str) else orjson.dumps(text, option=orjson.OPT_SORT_KEYS).decode()
        at, writer = time(event), who(event)
        about = {name: str(value) for name in CODE if (value := found(event, name)) is not None}
        return Line(writer, level(event), said, at, *ids(event, said, session), at * NANOSECONDS, place_in(about))
    own = line(inner, session, depth + 1)
    known = own.level if own.level != UNSAID else level(event)
    trace, span = (own.trace, own.span) if own.trace != (0, 0) else ids(event, own.text, session)
    at = own.time or time(event)
    return Line({**who(event), **own.attributes}, known, own.text, at, trace, span, at * NANOSECONDS, own.code)


def ids(event: Mapping[str, Any], text: str, session: Session | None) -> tuple[tuple[int, int], int]:
    """Trace, or what stands for it, and span; zeros where there are none, or none that can be read."""
    if session is not None:
        value = found(event, session.key)
        return session.of(text, {} if value is None else {session.key: str(value)}), 0
    try:
        trace, span = (hexadecimal(first(event, names, (str,)) or "", size) for names, size in ((TRACE, 16), (SPAN, 8)))
    except BadRecord:
        return (0, 0), 0
    return trace_of(trace), number_of(span)


def nested(text: Any) -> dict[str, Any] | None:
    """The object that a line is, if it is one that holds a line."""
    inner = text
    if isinstance(text, str) and text.lstrip()[:1] == "{":
        try:
            inner = orjson.loads(text)
        except orjson.JSONDecodeError:
            return None
    return inner if isinstance(inner, dict) and first(inner, LINE, (str, dict)) is not None else None


def time(event: Mapping[str, Any]) -> int:
    """When, ms; 0: not said, or not to be read."""
    for name in TIME:
        value = found(event, name)
        try:
            if isinstance(value, str) and value:
                return instant(value)
            if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
                return epoch(value)
        except BadRecord:
            continue
    return 0


def level(event: Mapping[str, Any]) -> int:
    """The level; a text that is no level's name says nothing."""
    for name in LEVEL:
        value = found(event, name)
        if isinstance(value, str) and (value.upper() in BY_NAME or value.isdecimal()):
            return level_named(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return level_named(str(value))
    return UNSAID


def who(event: Mapping[str, Any]) -> dict[str, str]:
    """Who wrote it."""
    held = next((m for m in (found(event, name) for name in RESOURCE) if isinstance(m, dict)), {})
    said = {name: str(value) for name, value in held.items() if isinstance(value, str | int | float)}
    for name, places in WHO.items():
        value = first(event, places, (str, int))
        if value is not None:
            said.setdefault(name, str(value))
    return said


def events(value: bytes) -> Iterator[Mapping[str, Any]]:
    """The objects of a record."""
    try:
        held = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        utf8(value)
        parts = [part for part in value.splitlines() if part.strip()]
        if len(parts) < 2:
            raise BadRecord("bad_json", str(error)) from error
        for part in parts:
            try:
                yield _object(orjson.loads(part))
            except orjson.JSONDecodeError as worse:
                raise BadRecord("bad_json", str(worse)) from worse
        return
    yield from map(_object, held if isinstance(held, list) else [held])


def _object(held: Any) -> Mapping[str, Any]:
    if not isinstance(held, dict):
        raise BadRecord("bad_json", f"an object is wanted, not {type(held).__name__}")
    return held


def lines(value: bytes, session: Session | None = None) -> Iterator[Line]:
    """The lines of a record."""
    return (line(event, session) for event in events(value))


@register("json_logs")
class JsonLogs(Lines):
    """An object per line."""

    def decode(self, records: Records, catalog: Catalog) -> Decoded:
        """Parse record by record; one that cannot be read gives no line at all."""
        found: list[tuple[int, Line]] = []
        dead: list[DeadLetter] = []
        known: dict[tuple[tuple[str, str], ...], Mapping[str, str]] = {}
        for i in range(len(records)):
            try:
                some = list(lines(records.value(i), self.session)) if records.value_len[i] > 0 else []
            except (BadRecord, RecursionError, orjson.JSONEncodeError) as error:
                bad = error if isinstance(error, BadRecord) else BadRecord("bad_json", "nested too deep")
                dead.append(records.dead(i, bad))
                continue
            for one in some:  # who is the same is one mapping, and looked at once
                held = known.setdefault(tuple(one.attributes.items()), one.attributes)
                found.append((i, one._replace(attributes=held)))
        return self.of_lines(found, dead, records, catalog)
