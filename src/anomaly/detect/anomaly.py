"""What detect says: an anomaly is one episode on one judged series."""

from enum import StrEnum

from msgspec import Struct

from anomaly.config.models import Direction, Signal
from anomaly.decode.identity import Labels

AMONG = " among peers"  # behind the quantity in which an instance is compared with its peers
GOLDEN = "golden signals"  # quantity of the joint judgement of a group's golden signals
HEARD = "heard"  # quantity of a group's silence
MISSED = "results"  # quantity of a check that no results come of
LEFT = "time left"  # quantity of a point in time: until then, s
BACK_TO_NORMAL, NEW_NORMAL = "back to normal", "new normal"  # reasons of a close
REMOVED = "series ended"  # the same, of one whose series is no more


class Event(StrEnum):
    """What happened to the episode."""

    OPEN = "open"
    RECORD = "record"  # a new peak
    CLOSE = "close"


REGRESSION = "regression"


class Anomaly(Struct, frozen=True, kw_only=True, tag="anomaly", tag_field="type"):
    """One episode as it stands at `time`. Values are in `unit`; times in milliseconds of event time.

    `id` is a hash of the unseeded canonical labels and `started`: the same episode has the same id in every replay.
    `score` is the greatest so far, -log10 of the tail probability; `observed` the value where it was reached; `expected`
    the usual band (low, high) frozen when the episode opened. `current` is the value at `time`. `events` are the
    (errors, requests) seen since `started` where k of n is judged. `learned` is how long the series was known when the
    episode opened, in seconds. `points` are the last (time, value) pairs.
    """

    id: str
    event: Event
    time: int
    environment: str
    group: str
    metric: str
    quantity: str  # what of the metric: "value", "rate", "mean", "p50", "p95", "p99", "error ratio", or one of the above
    labels: Labels
    instance: Labels
    aggregate: bool  # of the group, not of one instance
    unit: str
    signal: Signal
    spec: str
    pages: bool
    direction: Direction  # above or below: to which side it went
    started: int
    ended: int | None
    score: float
    observed: float
    current: float
    expected: tuple[float, float]
    events: tuple[float, float] | None
    bad: bool  # the spec's `bad` level was reached
    learned: float
    points: tuple[tuple[int, float], ...]
    peers: int = 0  # of an instance among its peers: how many others it was compared with
    middle: float = 0.0  # and their median
    breadth: tuple[int, int] | None = None  # of a group: how many of how many series it is put together of do the same; else
    # of a check: how many of how many sites that look say so
    parts: tuple[tuple[str, float], ...] = ()  # golden signals: by signal how far it is off, with its sign, the driver first
    reduced_by: tuple[str, ...] = ()  # what made the score smaller
    example: str = ""  # of log lines: one of them, without secrets
    reason: str = ""  # of a close: "back to normal", "new normal", "series ended", "heard again"
    # Traces in which it showed: id in hex, and the time (ms) of the step of that trace that is odd; a few of many.
    traces: tuple[tuple[str, int], ...] = ()
    code: str = ""  # where in the program, as a log line or an attribute says it: "OrderService.java:71", "charge"
    warned: bool = False  # the spec's `warn` level was reached
    supports: bool = False  # its spec does not announce it: it only supports what else is wrong
    alone: bool = False  # one value says so, and no second one yet
    usual: str = ""  # of an unusual step: the one that usually comes there
    kind: str = ""  # REGRESSION: a slow change against weeks ago; `points` are then the level of that week and of the last

    @property
    def key(self) -> tuple[object, ...]:
        """Who it is about, as `Subject.key`."""
        instance = None if self.aggregate else self.instance
        return self.environment, self.group, self.metric, self.quantity, self.labels, instance


class Tick(Struct, frozen=True, kw_only=True, tag="tick", tag_field="type"):
    """Event time went on to `time` on a partition of anomaly.points, and nothing else happened."""

    partition: int
    time: int
