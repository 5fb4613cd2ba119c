"""What can be configured: frozen typed settings, with their defaults. Durations are seconds (written `30s`, `5m`, `2h`).

`load.py` reads them from YAML, environment and command line, and finds every mistake.
"""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct, field

from anomaly.config.probes import Probes

Seconds = Annotated[float, Meta(ge=0, extra={"duration": True})]
# Pages per week, written `10 per week`, `1 per day`, or `none` for no ceiling.
PAGES_PER_WEEK = 10.0  # where nothing else is said
PerWeek = Annotated[float, Meta(extra={"rate": True})]
# Relative to the file that names it. A path that is written to is "new": only its folder must be there.
FilePath = Annotated[str, Meta(extra={"path": "existing"})]
NewFilePath = Annotated[str, Meta(extra={"path": "new"})]


class Frozen(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A settings section: unknown keys are refused."""


class Driver(StrEnum):
    """Which adapter reads Kafka."""

    FAUST = "faust"
    CONSUMER = "consumer"


class Keyed(StrEnum):
    """What the records of a topic are keyed by, which the detector may rely on."""

    GROUP = "group"


class Security(Frozen, frozen=True):
    """How to reach the brokers; files hold secrets, so that no configuration does."""

    protocol: str = "PLAINTEXT"  # PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL
    mechanism: str = "PLAIN"  # PLAIN, SCRAM-SHA-256, SCRAM-SHA-512
    username_file: FilePath | None = None
    password_file: FilePath | None = None
    ca: FilePath | None = None
    certificate: FilePath | None = None
    key: FilePath | None = None


class Topics(Frozen, frozen=True):
    """Names of our own topics, how many partitions they get where we create them, and whether we may."""

    prefix: str = "anomaly"  # <prefix>.points, .anomalies, .alerts, .incidents, .dead, .state.open
    partitions: Annotated[int, Meta(ge=1)] = 8
    replication: Annotated[int, Meta(ge=1)] = 1
    create: bool = True
    # Version in which .points are written: 1 while a worker of the first release still reads them, in an upgrade.
    points_version: Annotated[int, Meta(ge=1, le=2)] = 2


class KafkaSettings(Frozen, frozen=True):
    """The cluster."""

    bootstrap: list[str]
    application: str = "anomaly"  # consumer group prefix
    instance: str = ""  # which worker this is: with a name it comes back to its partitions, and nobody else is disturbed
    driver: Driver = Driver.FAUST
    stall: Seconds = 60.0  # without progress for so long, though there is more to read, a consumer is made anew; 0: never
    security: Security = Security()
    topics: Topics = Topics()


class SourceSettings(Frozen, frozen=True):
    """A topic to read."""

    topic: str
    encoding: str
    lateness: Seconds = 10.0
    session_key: str = ""  # of log lines without trace ids: an attribute, or a pattern of the text with one group
    keyed: Keyed | None = None  # group: all records of a group are on one partition; decoded and judged in one stage


# What OpenTelemetry's semantic conventions 1.20 called otherwise than the stable ones for HTTP (1.23), where the values are
# what they were; those of `http.flavor` and `net.transport` did not. Source: "HTTP semantic convention stability migration".
RENAMED = {
    "http.method": "http.request.method",
    "http.status_code": "http.response.status_code",
    "http.scheme": "url.scheme",
    "net.protocol.name": "network.protocol.name",
    "net.protocol.version": "network.protocol.version",
    "net.host.name": "server.address",
    "net.host.port": "server.port",
    "net.peer.name": "server.address",
    "net.peer.port": "server.port",
}


class IdentitySettings(Frozen, frozen=True):
    """Which attributes are environment, group, instance, nothing or the writer.

    `group` lists alternatives, the first that fits wins. The defaults follow OpenTelemetry's semantic conventions and the
    usual Prometheus exporters.
    """

    environment: tuple[str, ...] = ("deployment.environment.name", "deployment.environment", "environment", "env")
    group: tuple[tuple[str, ...], ...] = (
        ("service.namespace", "service.name"),
        ("job",),
        ("k8s.namespace.name", "k8s.deployment.name"),
        ("namespace", "app"),
        ("host.name",),
        ("host",),
        ("instance",),
    )
    instance: tuple[str, ...] = (
        "service.instance.id", "service.version", "k8s.pod.name", "k8s.pod.uid", "k8s.node.name", "k8s.container.name",
        "container.id", "container.name", "host.name", "host.id", "process.pid", "instance", "pod", "pod_name", "container",
        "node",
    )  # fmt: skip
    ignore: tuple[str, ...] = (
        "telemetry.*", "otel.scope.*", "otel_scope_*", "process.command*", "process.executable.*",
        "process.runtime.*", "os.*", "host.arch", "host.ip", "host.mac", "k8s.pod.ip",
    )  # fmt: skip
    # Which of several senders of one series: ignored like `ignore`, but known for each point.
    writer: tuple[str, ...] = ("prometheus", "prometheus_replica", "__replica__", "collector.instance.id")
    # Old names of attributes -> new ones: both make one series, and it keeps what was learned under the old one.
    aliases: dict[str, str] = field(default_factory=lambda: dict(RENAMED))
    # Groups too large for one partition, by their names in alerts: their series are spread by metric. A source that is
    # `keyed: group` has all of a group on one partition, and there it says nothing.
    giants: tuple[str, ...] = ()
    seed: Annotated[int, Meta(ge=0, le=(1 << 63) - 1)] = 0


class Limits(Frozen, frozen=True):
    """Bounds of what is held or accepted."""

    series: Annotated[int, Meta(ge=1)] = 1_000_000  # of a partition; past it new ones are counted, and not judged
    series_per_environment: Annotated[int, Meta(ge=1)] = 1_000_000  # the same, of one environment
    series_per_metric: Annotated[int, Meta(ge=1)] = 1_000_000  # and of one metric of one environment
    idle: Seconds = 86_400.0  # a series without a point for so long, of data time, is forgotten
    steps: Annotated[int, Meta(ge=64)] = 100_000  # of a partition, from traces; past it those not seen for longest go
    record_bytes: Annotated[int, Meta(ge=1)] = 16 << 20  # of one record, decompressed
    future: Seconds = 600.0  # a point further ahead of its record's time is set aside
    waiting_points: Annotated[int, Meta(ge=0)] = 100_000  # points held whose labels are not known yet
    operations: Annotated[int, Meta(ge=1)] = 500  # of a group, from spans; further ones are counted as one
    spans: Annotated[int, Meta(ge=4096)] = 1 << 18  # of an input partition, held until the other half of a call has come
    changes: Annotated[int, Meta(ge=1)] = 1_000  # kinds of changes that a partition remembers; those heard last
    facts: Annotated[int, Meta(ge=1)] = 50_000  # instances of a partition of which it is remembered where they run
    span_wait: Seconds = 30.0  # for so long, of the spans' own time
    traced_events: Annotated[int, Meta(ge=0)] = 1 << 15  # spans and lines of open traces; of more a share is taken; 0: none
    river: Annotated[int, Meta(ge=0)] = 1_000  # judged rows of a partition by models of river's; further ones by the default


class LogSettings(Frozen, frozen=True):
    """How log lines become series; a line is known by its signature, lines alike make a template."""

    templates: Annotated[int, Meta(ge=1)] = 1_000  # of a group; lines of more are counted together
    signatures: Annotated[int, Meta(ge=1)] = 100_000  # that a decoder and a partition know at a time
    secrets: tuple[str, ...] = ()  # regular expressions of what is to be hidden, besides the usual


class PagerDuty(Frozen, frozen=True):
    """PagerDuty Events API v2."""

    routing_key_file: FilePath
    url: str = "https://events.pagerduty.com/v2/enqueue"


class Alertmanager(Frozen, frozen=True):
    """Every replica is sent to, never a load balancer."""

    urls: list[str]
    resend: Seconds = 60.0


class Webhook(Frozen, frozen=True):
    """The alert as JSON by POST; `headers_file` holds `Name: value` lines (tokens)."""

    url: str
    headers_file: FilePath | None = None


class Stdout(Frozen, frozen=True):
    """The alert on standard output, as text for people or as JSON lines."""

    json: bool = False


class File(Frozen, frozen=True):
    """The alert appended as a JSON line."""

    path: NewFilePath


class ReceiverSettings(Frozen, frozen=True):
    """A receiver: a name and exactly one of the kinds."""

    name: str
    pagerduty: PagerDuty | None = None
    alertmanager: Alertmanager | None = None
    webhook: Webhook | None = None
    stdout: Stdout | None = None
    file: File | None = None
    at_least: str = "warning"  # severities below are not sent: critical, warning, info


class RouteSettings(Frozen, frozen=True):
    """Who gets the alerts."""

    receiver: str


class Correlation(Frozen, frozen=True):
    """When an incident ends: this long after its last anomaly has. What is known of who belongs together."""

    resolve_after: Seconds = 30.0
    edges: Annotated[int, Meta(ge=1)] = 10_000  # services with one that they call; the faintest give way
    places: Annotated[int, Meta(ge=1)] = 100_000  # of what it is known where it runs; those told first give way
    changes: Annotated[int, Meta(ge=1)] = 1_000  # of the last hours; the oldest give way


class Threshold(Frozen, frozen=True):
    """Evidence (score, -log10 of the tail probability) that an alert needs; the alert budget never goes below it."""

    alert: float = 6.0


class Blind(Frozen, frozen=True):
    """When the detector says that it cannot see. Judged on the wall clock."""

    no_input: Seconds = 90.0  # more than the usual export interval of a minute, and reported well within two
    lag: Seconds = 90.0  # the newest record judged is older than this
    rejects: float = 0.5  # share of records of the last minute set aside


class Checkpoint(Frozen, frozen=True):
    """How often state is kept: so often at most, and so seldom that no more than this is written in all.

    `directory`: where it is kept without Kafka; none: it is not.
    """

    every: Seconds = 5.0
    bytes_per_second: Annotated[int, Meta(ge=1)] = 15_000_000
    directory: NewFilePath | None = None


class Health(Frozen, frozen=True):
    """Where /metrics, /healthz and /readyz are served."""

    listen: str = "127.0.0.1:9464"


class OtlpReceiver(Frozen, frozen=True):
    """The embedded host's OTLP over HTTP receiver."""

    listen: str = "127.0.0.1:4318"


class Weekday(StrEnum):
    """A day of the week."""

    MONDAY = "monday"
    TUESDAY = "tuesday"
    WEDNESDAY = "wednesday"
    THURSDAY = "thursday"
    FRIDAY = "friday"
    SATURDAY = "saturday"
    SUNDAY = "sunday"


class Ignored(StrEnum):
    """What is left out of a time: `results` are not told, though judged and learned."""

    RESULTS = "results"


class CalendarSettings(Frozen, frozen=True):
    """Days, or hours of the week, in the local time of the groups that it is about, that are not as their clock says.

    Exactly one of `like` (those dates are as this day of the week) and `ignore`. Read by `calendar`.
    """

    name: str
    match: tuple[str, ...] = ("*",)  # patterns of an environment or of `environment/group`
    dates: tuple[str, ...] = ()  # `2026-04-06`, `12-25` of every year, or two of them: `12-24..12-26`
    hours: tuple[str, ...] = ()  # `sat 02:00-04:00`, `mon,tue 22:00-06:00`, `daily 03:00-03:30`
    like: Weekday | None = None
    ignore: Ignored | None = None


class Settings(Frozen, frozen=True):
    """The whole configuration."""

    kafka: KafkaSettings | None = None
    otlp: OtlpReceiver | None = None
    sources: list[SourceSettings] = []
    identity: IdentitySettings = IdentitySettings()
    limits: Limits = Limits()
    logs: LogSettings = LogSettings()
    models: list[FilePath] = []  # folders or files of model specs; none: the shipped ones
    threshold: Threshold = Threshold()
    # New pages that may rest on statistics alone, by environment, or `environment/group` (patterns); written alone: of all.
    alert_budget: Annotated[dict[str, PerWeek], Meta(extra={"alone": "default"})] = field(
        default_factory=lambda: {"default": PAGES_PER_WEEK}
    )
    # Teams that statistics alone may not page yet, by the same patterns; empty: where we run on Kafka all, else none.
    shadow: Annotated[dict[str, bool], Meta(extra={"alone": "default"})] = {}
    # IANA zone of day and week, by patterns as those of the budget; written alone: of all.
    time_zone: Annotated[dict[str, str], Meta(extra={"alone": "default"})] = field(
        default_factory=lambda: {"default": "UTC"}
    )
    calendars: list[CalendarSettings] = []
    correlation: Correlation = Correlation()
    blind: Blind = Blind()
    checkpoint: Checkpoint = Checkpoint()
    probes: Probes = Probes()
    routes: RouteSettings | None = None
    receivers: list[ReceiverSettings] = []
    health: Health = Health()
    links: dict[str, str] = {}  # shown in alerts: runbook, dashboard; {group}, {environment} and {metric} are filled in
