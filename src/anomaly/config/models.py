"""Model specs: which series are judged, by which model, as which kind of signal, and what is too small to matter.

A spec file holds a list under `specs`. A series is judged by every spec that matches it, at most one per signal (the
first), so that a request histogram is latency, traffic and errors at once; the spec named `default` takes what no other
does. Matching is on the metric's name and labels; patterns are shell patterns (`*`, `?`).
"""

from collections.abc import Sequence
from enum import StrEnum
from fnmatch import fnmatchcase

from anomaly.config.river import River
from anomaly.config.settings import Frozen, Seconds
from anomaly.decode.identity import Series


class Signal(StrEnum):
    """What a series tells about a service: the four golden signals of the SRE book, and the rest."""

    LATENCY = "latency"
    TRAFFIC = "traffic"
    ERRORS = "errors"
    SATURATION = "saturation"
    OTHER = "other"


class Model(StrEnum):
    """How a series is judged."""

    ADAPTIVE = "adaptive"  # a value against its band: the default model
    RATIO = "ratio"  # k of n against what was usual
    RIVER = "river"  # a value by one of river's models, in the band of the default model: some hundred times slower
    IGNORE = "ignore"  # no signal: counted and left alone


VALUED = Model.ADAPTIVE, Model.RIVER  # judge a value against its band


class Direction(StrEnum):
    """Which side of the expected band is a fault."""

    ABOVE = "above"
    BELOW = "below"
    EITHER = "either"


class Sum(StrEnum):
    """Over what the members of an aggregate are put together (summed; ratios and utilizations averaged)."""

    INSTANCES = "instances"  # every labelled series of the group, over its instances
    GROUP = "group"  # the whole group: all labels of the metric
    NONE = "none"  # no aggregate: each series for itself


class Peers(StrEnum):
    """Whether the instances of a group are compared with one another, and what one that is odd among them comes to."""

    NONE = "none"  # not compared: a load balancer that gives one of them less is no fault
    WARNING = "warning"  # supports an incident, and pages nobody by itself
    PAGES = "pages"  # as what the spec's other anomalies come to


class Announces(StrEnum):
    """What of a spec's anomalies people are told of by themselves. The others support what else is wrong: they are shown
    with it, and neither hold an incident open nor connect it with another one."""

    ALL = "all"
    SHARED = "shared"  # what is of several instances together, or of nobody that is called an instance
    NONE = "none"


class Match(Frozen, frozen=True):
    """All of these hold: the metric's name fits one of `metric`, in upper or lower case; its unit is one of `unit`; each
    label fits its pattern."""

    metric: tuple[str, ...] = ("*",)
    unit: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    kind: tuple[str, ...] = ()  # gauge, counter, histogram

    def fits(self, series: Series) -> bool:
        """Whether the series is meant."""
        held = dict(series.labels) | dict(series.instance)
        kind = ("gauge", "counter", "counter", "histogram", "histogram")[series.kind]
        return (
            any(fnmatchcase(series.metric.lower(), p.lower()) for p in self.metric)
            and (not self.unit or series.unit in self.unit)
            and (not self.kind or kind in self.kind)
            and all(fnmatchcase(held.get(k, ""), p) for k, p in self.labels.items())
        )


class Errors(Frozen, frozen=True):
    """Which members of a total are errors: a label of this name whose value fits one of these patterns."""

    label: tuple[str, ...]  # the first of these that the series has
    value: tuple[str, ...]


class ModelSpec(Frozen, frozen=True):
    """One spec. `min_deviation` is in the unit of the judged value, `min_relative` a share of the expected value."""

    name: str
    match: tuple[Match, ...]
    signal: Signal = Signal.OTHER
    model: Model = Model.ADAPTIVE
    direction: Direction = Direction.EITHER
    sum: Sum = Sum.INSTANCES
    members: bool = True  # are the single series judged too, beside the aggregate
    announces: Announces = Announces.ALL
    pages: bool = False  # service-level: may be critical
    frozen: bool = False  # compare its days with those of weeks ago, as of what pages
    season: bool = True
    errors: Errors | None = None  # model ratio: k of n
    river: River | None = None  # model river: which of its models
    min_deviation: float = 0.0
    min_relative: float = 0.0
    min_duration: Seconds = 0.0
    min_events: float = 0.0  # model ratio: fewer events are no evidence; latency: fewer observations a cell are not judged
    close_after: Seconds = 30.0  # back within the band for so long ends the episode
    new_normal_after: Seconds = 21_600.0  # an episode that lasts so long is the new level
    # At or past this the anomaly is a fault whatever was usual: a share of k of n, or a value, of which a second is awaited.
    bad: float | None = None
    bad_events: float = 20.0  # of at least so many
    warn: float | None = None  # the same of a value that is a ticket whatever was usual, and no page
    until: bool = False  # the value is a point in time, s since the epoch: judged is how many seconds are left until then
    absence: bool = False  # the silence of a group that reports this is an anomaly
    # The series are results of checks, made from the site that the first of these labels names: each is missed by itself,
    # and a failure that no more than half of several sites see is a ticket.
    sites: tuple[str, ...] = ()
    peers: Peers = Peers.NONE  # are the instances compared with one another

    @property
    def compares(self) -> bool:
        """Whether instances are compared: there has to be an aggregate of theirs."""
        return self.peers is not Peers.NONE and self.sum is not Sum.NONE


DEFAULT = "default"  # the name of the spec that takes what no other one does


def specs_for(series: Series, specs: Sequence[ModelSpec]) -> tuple[ModelSpec, ...]:
    """The specs that judge a series: the first that fits if it ignores, else the first of each signal, else the default.

    So a person's own spec, which stands before the shipped ones, may judge what those ignore.
    """
    fitting = [s for s in specs if s.name != DEFAULT and any(m.fits(series) for m in s.match)]
    if fitting and fitting[0].model is Model.IGNORE:
        return (fitting[0],)
    first: dict[Signal, ModelSpec] = {}
    for spec in (s for s in fitting if s.model is not Model.IGNORE):
        first.setdefault(spec.signal, spec)
    return tuple(first.values()) or tuple(s for s in specs if s.name == DEFAULT)
