"""Mistakes of the settings that no single key shows: each check looks at the whole."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from string import Formatter
from typing import NamedTuple
from urllib.parse import urlsplit

from anomaly.config import probes
from anomaly.config.mistake import one_of, shown
from anomaly.config.settings import KafkaSettings, ReceiverSettings, Settings
from anomaly.config.texts import is_url, no_pattern

# Kept here, so that a configuration is checked without loading a decoder; a test compares it with decode's registry.
ENCODINGS = [
    "change_json", "csv", "influx", "jaeger_json", "jaeger_proto", "json_logs", "otlp_json", "otlp_logs_json",
    "otlp_logs_proto", "otlp_proto", "otlp_spans_json", "otlp_spans_proto", "prometheus_json",
    "prometheus_remote_write", "telegraf_json", "text_logs", "zipkin_json",
]  # fmt: skip
TRACES = ("otlp_spans", "jaeger-spans")  # topics of the Collector and of Jaeger
LOGS = "otlp_logs"
PROTOCOLS = ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
MECHANISMS = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
SEVERITIES = ["critical", "warning", "info"]
RECEIVERS = ["pagerduty", "alertmanager", "webhook", "stdout", "file"]
LINKS = ["group", "environment", "metric"]
ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+\]|[\w.-]*):(\d{1,5})")
TOPIC = re.compile(r"[a-zA-Z0-9._-]{1,249}")  # what Kafka accepts


class Found(NamedTuple):
    """A key, and what is wrong with its value."""

    path: str
    text: str


def found(settings: Settings) -> list[Found]:
    """Every mistake of the settings."""
    checks = (sources, logs, kafka, receivers, routes, addresses, values)
    mistakes = [mistake for check in checks for mistake in check(settings)]
    return mistakes + [Found(path, text) for path, text in probes.found(settings)]


def sources(settings: Settings) -> Iterator[Found]:
    """Sources are topics, and topics need brokers."""
    if settings.sources and settings.kafka is None:
        yield Found("sources", "are topics, and there is no `kafka` to read them from; add kafka: {bootstrap: [host:9092]}")
    if settings.kafka is not None and not settings.sources:
        yield Found("kafka", "has nothing to read; add sources: [{topic: otlp_metrics, encoding: otlp_proto}]")
    if settings.kafka is not None and settings.otlp is not None:
        yield Found("otlp", "receives where there is no Kafka, and `kafka` is given; remove one of the two")
    for i, source in enumerate(settings.sources):
        if not TOPIC.fullmatch(source.topic):
            yield Found(f"sources[{i}].topic", f"{shown(source.topic)} is no topic; letters, digits, `.`, `_`, `-`")
        if source.encoding not in ENCODINGS:
            remedy = unknown(source.encoding, ENCODINGS)
            yield Found(f"sources[{i}].encoding", f"{shown(source.encoding)} is no encoding that is known; {remedy}")
        elif source.topic == LOGS and source.encoding in ("otlp_proto", "otlp_json"):
            instead = source.encoding.replace("otlp", LOGS)
            said = f"{source.encoding} is of metrics, and {LOGS} the Collector's topic of logs; write {instead}"
            yield Found(f"sources[{i}].encoding", said)
    yield from doubles("sources[{}].topic", [s.topic for s in settings.sources], "one source a topic")
    yield from traces(settings)


def traces(settings: Settings) -> Iterator[Found]:
    """The senders' own names of topics tell what is in them; read as metrics, spans would be no error, and nothing."""
    for i, source in enumerate(settings.sources):
        if source.topic in TRACES and source.encoding in ("otlp_proto", "otlp_json"):
            instead = source.encoding.replace("otlp", "otlp_spans")
            said = f"{source.encoding} is of metrics, and {source.topic} usually holds traces; write {instead}"
            yield Found(f"sources[{i}].encoding", said)


def session(key: str) -> str:
    """What is wrong with a session key, "" if nothing is."""
    if "(" not in key:
        return ""
    if wrong := no_pattern(key):
        return f"{shown(key)} is no regular expression: {wrong}"
    return "" if re.compile(key).groups == 1 else f"{shown(key)} must have one group, which is the key: `id=(\\d+)`"


def logs(settings: Settings) -> Iterator[Found]:
    """Patterns of secrets and sessions are regular expressions."""
    for i, source in enumerate(settings.sources):
        if said := session(source.session_key):
            yield Found(f"sources[{i}].session_key", said)
    for i, pattern in enumerate(settings.logs.secrets):
        if wrong := no_pattern(pattern):
            yield Found(f"logs.secrets[{i}]", f"{shown(pattern)} is no regular expression: {wrong}")


def kafka(settings: Settings) -> Iterator[Found]:
    """Brokers and how to reach them."""
    if settings.kafka is None:
        return
    if not settings.kafka.bootstrap:
        yield Found("kafka.bootstrap", "is empty; name at least one broker as host:9092")
    for i, broker in enumerate(settings.kafka.bootstrap):
        if not is_address(broker) or broker.startswith(":"):
            yield Found(f"kafka.bootstrap[{i}]", f"{shown(broker)} is no broker; write host:port, as kafka:9092")
    yield from doubles("kafka.bootstrap[{}]", settings.kafka.bootstrap, "one of them is enough")
    yield from security(settings.kafka)


def security(settings: KafkaSettings) -> Iterator[Found]:
    """Protocol and secrets fit together."""
    at, s = "kafka.security", settings.security
    if s.protocol not in PROTOCOLS:
        yield Found(f"{at}.protocol", f"{shown(s.protocol)} is no protocol; {unknown(s.protocol, PROTOCOLS)}")
    if s.mechanism not in MECHANISMS:
        yield Found(f"{at}.mechanism", f"{shown(s.mechanism)} is no mechanism; {unknown(s.mechanism, MECHANISMS)}")
    if s.protocol.startswith("SASL_") and not (s.username_file and s.password_file):
        yield Found(at, f"{s.protocol} needs a name and a password; add username_file and password_file")
    if not s.protocol.startswith("SASL_") and (s.username_file or s.password_file):
        yield Found(f"{at}.protocol", f"{s.protocol} sends no password; write SASL_SSL (or SASL_PLAINTEXT)")
    if (s.certificate is None) != (s.key is None):
        yield Found(at, "has a client's certificate or its key alone; give both")


def receivers(settings: Settings) -> Iterator[Found]:
    """Each has one kind, a name of its own, and somewhere to send to."""
    yield from doubles("receivers[{}].name", [r.name for r in settings.receivers], "each receiver has a name of its own")
    for i, receiver in enumerate(settings.receivers):
        at = f"receivers[{i}]"
        kinds = [k for k in RECEIVERS if getattr(receiver, k) is not None]
        if not receiver.name:
            yield Found(f"{at}.name", "is empty; a route names the receiver by it")
        if not kinds:
            yield Found(at, f"{shown(receiver.name)} has no kind; add one of {', '.join(RECEIVERS)}")
        if len(kinds) > 1:
            yield Found(at, f"{shown(receiver.name)} is {' and '.join(kinds)}; make a receiver of each")
        if receiver.at_least not in SEVERITIES:
            yield Found(f"{at}.at_least", f"{shown(receiver.at_least)} is no severity; known: {', '.join(SEVERITIES)}")
        yield from urls(at, receiver)
        yield from secrets(at, receiver)


def urls(at: str, receiver: ReceiverSettings) -> Iterator[Found]:
    """Every URL of a receiver."""
    if receiver.alertmanager is not None and not receiver.alertmanager.urls:
        yield Found(f"{at}.alertmanager.urls", "is empty; name every replica, as http://alertmanager:9093")
    named = [
        (f"{at}.alertmanager.urls[{i}]", u)
        for i, u in enumerate(receiver.alertmanager.urls if receiver.alertmanager else [])
    ]
    named += [(f"{at}.webhook.url", receiver.webhook.url)] if receiver.webhook else []
    named += [(f"{at}.pagerduty.url", receiver.pagerduty.url)] if receiver.pagerduty else []
    for path, url in named:
        if not is_url(url):
            yield Found(path, f"{shown(url)} is no URL; write http:// or https://, a host, and the path")
        elif "@" in urlsplit(url).netloc:
            yield Found(path, f"{shown(url)} holds a password; put an Authorization line into headers_file")


def secrets(at: str, receiver: ReceiverSettings) -> Iterator[Found]:
    """Files that must hold something."""
    if receiver.pagerduty and empty(receiver.pagerduty.routing_key_file):
        yield Found(
            f"{at}.pagerduty.routing_key_file",
            f'"{receiver.pagerduty.routing_key_file}" is empty or unreadable; put the key into it',
        )
    if receiver.webhook and receiver.webhook.headers_file and empty(receiver.webhook.headers_file):
        yield Found(
            f"{at}.webhook.headers_file",
            f'"{receiver.webhook.headers_file}" is empty or unreadable; put `Name: value` lines in',
        )


def routes(settings: Settings) -> Iterator[Found]:
    """A route leads to a receiver."""
    names = [r.name for r in settings.receivers]
    if settings.routes is None or settings.routes.receiver in names:
        return
    remedy = unknown(settings.routes.receiver, names) if names else "add it under receivers"
    yield Found("routes.receiver", f"{shown(settings.routes.receiver)} is no receiver; {remedy}")


def addresses(settings: Settings) -> Iterator[Found]:
    """Where we listen."""
    listens = {"health.listen": settings.health.listen}
    if settings.otlp is not None:
        listens["otlp.listen"] = settings.otlp.listen
    for path, address in listens.items():
        if not is_address(address):
            yield Found(path, f"{shown(address)} is no address; write host:port, as 127.0.0.1:9464")
    if len(set(listens.values())) < len(listens) and not settings.health.listen.endswith(":0"):
        yield Found("otlp.listen", f"{shown(settings.health.listen)} is health.listen too; give one of them another port")


def values(settings: Settings) -> Iterator[Found]:
    """Single values that their type does not bound."""
    if not settings.threshold.alert > 0:
        yield Found("threshold.alert", f"{settings.threshold.alert} would alert on everything; write more than 0, say 6")
    if not 0 < settings.blind.rejects <= 1:
        yield Found("blind.rejects", f"{settings.blind.rejects} is no share; write more than 0 and at most 1, say 0.5")
    for i, alternative in enumerate(settings.identity.group):
        if not alternative or "" in alternative:
            yield Found(f"identity.group[{i}]", "is empty; name the labels, as [service.namespace, service.name]")
    for i, giant in enumerate(settings.identity.giants):
        if not giant or set(giant) & set("*?"):
            yield Found(
                f"identity.giants[{i}]", f"{shown(giant)} is no group; write its name as alerts do, as shop/checkout"
            )
    yield from doubles("identity.giants[{}]", settings.identity.giants, "once is enough")
    for old, new in settings.identity.aliases.items():
        if not new or new in settings.identity.aliases:
            yield Found(
                "identity.aliases", f"{shown(old)} leads to {shown(new)}, which is no last name; write the newest one"
            )
    for name, template in settings.links.items():
        yield from link(f"links.{name}", template)


def link(path: str, template: str) -> Iterator[Found]:
    """A template names only what is filled in."""
    try:
        named = [field for _, field, _, _ in Formatter().parse(template) if field is not None]
    except ValueError:
        yield Found(path, f"{shown(template)} has a brace without its partner; write {{{{ or }}}} for a plain one")
        return
    for field in named:
        if field not in LINKS:
            yield Found(
                path, f"{shown(template)}: nothing fills in {{{field}}}; known: {{group}}, {{environment}}, {{metric}}"
            )


def doubles(path: str, names: Sequence[str], remedy: str) -> Iterator[Found]:
    """Names that stand there twice."""
    for i, name in enumerate(names):
        if name in names[:i]:
            yield Found(path.format(i), f"{shown(name)} stands there twice; {remedy}")


def unknown(wrong: str, known: Iterable[str]) -> str:
    """All that is known, the closest first."""
    hint = one_of(wrong, list(known))
    return hint if hint.startswith("known") else f"{hint} Known: {', '.join(known)}"


def is_address(text: str) -> bool:
    """Whether this is host:port."""
    fits = ADDRESS.fullmatch(text)
    return fits is not None and int(fits[2]) < 65_536


def empty(path: str) -> bool:
    """Whether a file holds nothing that could be read."""
    try:
        return not Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError):
        return True
