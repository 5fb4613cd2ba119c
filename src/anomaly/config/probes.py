"""Synthetic checks of `anomaly probe`: what is asked, how often, what must be answered, and where the results go."""

import re
from collections.abc import Iterator
from typing import Annotated, Any

from msgspec import Meta, Struct

from anomaly.config.texts import is_url, no_pattern


class Frozen(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A section: unknown keys are refused."""


Seconds = Annotated[float, Meta(ge=0, extra={"duration": True})]
FilePath = Annotated[str, Meta(extra={"path": "existing"})]
KINDS = ("http", "tcp", "dns", "tls")
STATUS = re.compile(r"[1-5](\d\d|xx)")
ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+\]|[\w.-]+):(\d{1,5})")
RECORDS = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "MX": 15, "TXT": 16, "AAAA": 28}
RCODES = ("NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED")


class Http(Frozen, frozen=True):
    """A request, and what its answer must be."""

    url: str
    method: str = "GET"
    headers: dict[str, str] = {}
    headers_file: FilePath | None = None  # `Name: value` lines: secrets stand in no configuration
    status: tuple[str, ...] = ("2xx",)
    body: str | None = None  # a regular expression that is found in it
    redirects: bool = True  # are followed
    slowest: Seconds | None = None  # an answer that takes longer is a failure
    verify: bool = True  # the server's certificate
    ca: FilePath | None = None


class Tcp(Frozen, frozen=True):
    """A connection, and what is said on it."""

    address: str
    send: str = ""
    expect: str | None = None  # a regular expression that is found in the first bytes of the answer


class Dns(Frozen, frozen=True):
    """A question to a name server over UDP."""

    server: str
    name: str
    type: str = "A"
    rcode: str = "NOERROR"
    answer: str | None = None  # a regular expression that one of the answers fits


class Tls(Frozen, frozen=True):
    """A certificate: it is to be valid for so long yet."""

    address: str
    server_name: str | None = None  # none: the address's host
    left: Seconds = 3 * 86_400.0
    verify: bool = True
    ca: FilePath | None = None


class Check(Frozen, frozen=True):
    """One check: exactly one of the kinds."""

    name: str
    service: str  # whose users feel it
    every: Annotated[float, Meta(gt=0, extra={"duration": True})] = 30.0
    timeout: Annotated[float, Meta(gt=0, extra={"duration": True})] = 10.0
    http: Http | None = None
    tcp: Tcp | None = None
    dns: Dns | None = None
    tls: Tls | None = None

    @property
    def kind(self) -> str:
        """Which of the kinds it is."""
        return next(k for k in KINDS if getattr(self, k) is not None)


class Probes(Frozen, frozen=True):
    """All checks, from where they are made, and where results go: to a topic of `sources`, else by OTLP to `url`."""

    checks: list[Check] = []
    environment: str = ""
    region: str = ""
    topic: str = ""
    url: str = "http://127.0.0.1:4318/v1/metrics"


def found(settings: Any) -> Iterator[tuple[str, str]]:
    """Every mistake of the checks, as (key, text); `settings` are the whole configuration."""
    probes: Probes = settings.probes
    if probes.topic:
        yield from topic(settings)
    elif not is_url(probes.url):
        yield "probes.url", f'"{probes.url}" is no URL; write http://host:4318/v1/metrics, or name a topic'
    names = [c.name for c in probes.checks]
    for i, check in enumerate(probes.checks):
        at = f"probes.checks[{i}]"
        if not check.name or check.name in names[:i]:
            yield f"{at}.name", f'"{check.name}" is empty or stands there twice; each check has a name of its own'
        if not check.service:
            yield f"{at}.service", "is empty; name the service whose users feel a failure"
        if check.timeout > check.every:
            yield f"{at}.timeout", f"{check.timeout:g} s is longer than `every` ({check.every:g} s); write at most that"
        kinds = [k for k in KINDS if getattr(check, k) is not None]
        if len(kinds) != 1:
            yield at, f'"{check.name}" is {" and ".join(kinds) or "of no kind"}; give it one of {", ".join(KINDS)}'
        for key, text in (m for k in kinds for m in of_kind(getattr(check, k))):
            yield f"{at}.{kinds[0]}.{key}", text


def topic(settings: Any) -> Iterator[tuple[str, str]]:
    """Results are read by somebody."""
    encodings = {s.topic: s.encoding for s in settings.sources}
    if encodings.get(settings.probes.topic) != "otlp_proto":
        said = f'"{settings.probes.topic}" is no source of encoding otlp_proto; add it under sources'
        yield "probes.topic", said


def of_kind(what: Http | Tcp | Dns | Tls) -> Iterator[tuple[str, str]]:
    """Mistakes of one section."""
    for key in ("body", "expect", "answer"):
        if (pattern := getattr(what, key, None)) is not None and (wrong := no_pattern(pattern)):
            yield key, f'"{pattern}" is no regular expression: {wrong}'
    for key in ("address", "server"):
        if (address := getattr(what, key, None)) is not None and not ADDRESS.fullmatch(address):
            yield key, f'"{address}" is no address; write host:port, as shop:443'
    if isinstance(what, Http):
        if not is_url(what.url):
            yield "url", f'"{what.url}" is no URL; write http:// or https://, a host, and the path'
        for status in what.status:
            if not STATUS.fullmatch(status):
                yield "status", f'"{status}" is no status; write one as "200", or a class as 2xx'
    if isinstance(what, Dns):
        if what.type not in RECORDS:
            yield "type", f'"{what.type}" is no type that is known; known: {", ".join(RECORDS)}'
        if what.rcode not in RCODES:
            yield "rcode", f'"{what.rcode}" is no code that is known; known: {", ".join(RCODES)}'
