"""Spans as Zipkin writes them in JSON (version 2): a list of them, or a single one, a record.

Times and durations are in microseconds, ids in hex; a span without a kind is local. Zipkin's two halves of a call may share
one id (`shared`): then the server's half gets another one here, and the client's for its parent, so that the two are joined
as halves and not taken for repeats. An error is the tag `error`, whatever it says.
Source: openzipkin/zipkin-api, zipkin2-api.yaml.
"""

from collections.abc import Iterator, Mapping

from msgspec import Struct
from msgspec.json import Decoder

from anomaly.decode.records import BadRecord
from anomaly.decode.spans import (
    CLIENT,
    CONSUMER,
    ERROR,
    INTERNAL,
    OKAY,
    PRODUCER,
    SERVER,
    UNSET,
    Span,
    hexadecimal,
    number_of,
    trace_of,
)
from anomaly.decode.text import read_json

_KINDS = {"": INTERNAL, "SERVER": SERVER, "CLIENT": CLIENT, "PRODUCER": PRODUCER, "CONSUMER": CONSUMER}
_SHARED = 0x9E3779B97F4A7C15  # any odd constant: turns an id into another one
_LATEST = 1 << 63  # ns
# Tags of a span that say who sent it, where a Collector has made them of a resource.
_OF_RESOURCE = (
    "service.namespace", "service.version", "service.instance.id", "deployment.environment.name", "deployment.environment",
    "host.name", "k8s.pod.name", "k8s.node.name", "k8s.namespace.name",
)  # fmt: skip


class Endpoint(Struct, gc=False):
    """Who sent it."""

    serviceName: str = ""  # noqa: N815 (names are the sender's)


class Message(Struct, gc=False):
    """A span."""

    traceId: str = ""  # noqa: N815
    id: str = ""
    parentId: str | None = None  # noqa: N815
    name: str | None = None
    kind: str | None = None
    timestamp: int | float | None = None
    duration: int | float | None = None
    localEndpoint: Endpoint | None = None  # noqa: N815
    tags: dict[str, str] = {}
    shared: bool = False


_DECODER = Decoder(list[Message] | Message)


def parse_json(value: bytes) -> Iterator[Span]:
    """The spans of a record."""
    found = read_json(_DECODER, value)
    for m in found if isinstance(found, list) else [found]:
        yield span_of(m)


def span_of(m: Message) -> Span:
    """One of them."""
    own, parent = number_of(hexadecimal(m.id)), number_of(hexadecimal(m.parentId or ""))
    kind = _KINDS.get(m.kind or "", INTERNAL)
    if m.shared and kind == SERVER:
        own, parent = own * _SHARED % (1 << 64), own
    start = nanoseconds(m.timestamp)
    end = start + nanoseconds(m.duration) if start and m.duration is not None else 0
    service = m.localEndpoint.serviceName if m.localEndpoint else ""
    trace = trace_of(hexadecimal(m.traceId, 16))
    held = {name: m.tags[name] for name in _OF_RESOURCE if name in m.tags}
    return Span({**held, "service.name": service}, m.name or "", trace, own, parent, kind, status_of(m.tags), start, end)


def status_of(tags: Mapping[str, str]) -> int:
    """ERROR by `error`, or what OpenTelemetry's exporter said."""
    if tags.get("error", "false").lower() != "false" or tags.get("otel.status_code") == "ERROR":
        return ERROR
    return OKAY if tags.get("otel.status_code") == "OK" else UNSET


def nanoseconds(us: int | float | None) -> int:
    """Microseconds as nanoseconds; none is 0."""
    if us is None:
        return 0
    if not 0 <= us < _LATEST // 4000:  # a sum of two of them still is a time
        raise BadRecord("bad_timestamp", str(us)[:80])
    return int(us * 1000)
