"""Which judged rows a series feeds: itself, the aggregate over its instances or its group, and the ratio of errors.

Python, once per new series; from then on it is rows. A histogram has no value of its own, it always feeds an aggregate.
Prometheus' classic histograms and summaries come as counters `X_bucket{le}`, `X_count` and `X_sum`: they are parts of one
aggregate X and are not judged by themselves.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly.config.models import Errors, Model, ModelSpec, Signal, Sum, specs_for
from anomaly.decode.identity import Labels, Series
from anomaly.decode.points import Kind
from anomaly.detect.judge import Judge
from anomaly.detect.rows import (
    AGGREGATE,
    AMOUNT,
    CELLS,
    DISTRIBUTION,
    ERROR,
    FAMILY,
    GROUP,
    HISTOGRAM,
    LANES,
    MEAN,
    MEMBER,
    RATIO,
    ROW,
    SUM,
    TOTAL,
    State,
    grown,
)

# What is judged of a histogram, in the order of `quantile.read`, by what the spec is about.
QUANTITIES = ("rate", "mean", "p95", "p99")
OF_SIGNAL = {Signal.TRAFFIC: ("rate",), Signal.LATENCY: ("mean", "p95", "p99"), Signal.SATURATION: ("mean", "p95", "p99")}
OF_OTHERS = ("rate", "mean", "p95")

MOST_FITTING = 100_000  # series that specs can tell apart, of which we remember how they do
DONORS = 8  # siblings asked for what they know


@dataclass(slots=True)
class Subject:
    """What a judged row is about; `instance` is None for an aggregate, `spec` an index."""

    environment: str
    group: str
    metric: str
    quantity: str
    labels: Labels
    instance: Labels | None
    unit: str
    spec: int

    @property
    def key(self) -> tuple[object, ...]:
        """Who it is, whatever the seed, the order of arrival and the specs."""
        return self.environment, self.group, self.metric, self.quantity, self.labels, self.instance


class Part(NamedTuple):
    """A counter that is a part of a classic histogram: which lane it adds to, or the bound of its bucket."""

    metric: str
    lane: int
    bound: float | None


def part_of(series: Series) -> Part | None:
    """What part of a classic histogram or summary a series is, if any."""
    base, _, suffix = series.metric.rpartition("_")
    if series.kind is not Kind.COUNTER or not base:
        return None
    bound = dict(series.labels).get("le")
    if suffix == "bucket" and bound is not None:
        return Part(base, -1, float(bound.replace("Inf", "inf")) if _is_number(bound) else None)
    return Part(base, 1 if suffix == "count" else 2, None) if suffix in ("count", "sum") else None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def is_error(errors: Errors, labels: Labels) -> bool:
    """Whether the first of the named labels that the series has fits one of the patterns."""
    held = dict(labels)
    value = next((held[name] for name in errors.label if name in held), None)
    return value is not None and any(fnmatchcase(value, pattern) for pattern in errors.value)


def is_averaged(series: Series) -> bool:
    """Whether members are put together by averaging: a sum of utilizations means nothing."""
    share = series.unit in ("1", "%") or series.metric.endswith(("ratio", "utilization", "percent"))
    return series.kind is Kind.GAUGE and share


def per_second(unit: str) -> str:
    """The unit of a rate."""
    return f"{unit}/s" if unit != "1" else "/s"


class Register:
    """Rows of everything that was announced; `state` is what the kernels work on."""

    def __init__(self, specs: Sequence[ModelSpec], judge: Judge) -> None:
        self.specs, self.judge = tuple(specs), judge
        self.subjects: list[Subject] = []
        self.groups: list[tuple[str, str]] = []
        self.raw: dict[int, int] = {}  # judged row -> the row that is judged by itself
        self.series = 0
        self.widest = LANES
        self.judged: NDArray[np.int32] = np.zeros((0, 4), np.int32)  # (aggregates, quantity): judged row, -1 none
        self.fewest: NDArray[np.float64] = np.zeros(0)  # observations that a mean or quantile takes, by aggregate
        self.state = State(
            np.zeros(64, ROW), np.zeros(64, MEMBER), np.zeros(64, AGGREGATE), np.zeros(64, GROUP), np.zeros(64, FAMILY),
            np.zeros(1024), np.zeros(1024), np.zeros(64), np.zeros(64, np.int32),
        )  # fmt: skip
        self._used = {"rows": 0, "members": 0, "aggregates": 0, "groups": 0, "families": 0, "lanes": 0, "buckets": 0}
        self._used["bounds"] = 0
        self._group: dict[tuple[str, str], int] = {}
        self._family: dict[tuple[object, ...], int] = {}
        self._aggregate: dict[tuple[object, ...], int] = {}
        self._about: list[list[Subject]] = []  # by aggregate
        self._alone: dict[tuple[object, ...], int] = {}  # the only row so far of an aggregate not made yet
        self._joined: set[tuple[int, int]] = set()
        self._donors: defaultdict[tuple[object, ...], list[int]] = defaultdict(list)
        self._index = {id(spec): i for i, spec in enumerate(self.specs)}
        self._names = frozenset(name for s in self.specs for m in s.match for name in m.labels)
        self._fitting: dict[tuple[object, ...], tuple[ModelSpec, ...]] = {}

    def add(self, series: Series, source: int, lateness: int, fresh: bool) -> int:
        """Give a series its row. `fresh`: no point of it can have been missed."""
        row, group, family = self._new("rows", 1), self._group_of(series), self._family_of(series)
        self.series += 1
        state = self.state
        one = state.rows[row]
        one["judged"], one["members"], one["group"], one["fresh"], one["family"] = -1, -1, group, fresh, family
        state.groups[group]["source"] = source
        part = part_of(series)
        seen = series if part is None else self._whole(series, part)
        specs = self._specs_of(series)  # by the name that it came under
        if not specs or specs[0].model is Model.IGNORE:
            state.rows[row]["ignored"] = 1
            return row
        if any(spec.absence for spec in specs):
            state.groups[group]["watched"] = 1
        for spec in specs:
            if spec.model is Model.RATIO:
                self._feed_ratio(row, seen, part, spec, lateness)
        values = [spec for spec in specs if spec.model is Model.ADAPTIVE]
        if seen.kind in (Kind.HISTOGRAM, Kind.HISTOGRAM_DELTA):
            for spec in values:
                self._feed_distribution(row, seen, part, spec, lateness)
        elif values:
            self._feed_value(row, seen, values[0], lateness)
        return row

    def reserve(self, rows: NDArray[np.int32], lengths: NDArray[np.int32]) -> None:
        """Make room for the last bucket counts of rows whose histograms have more buckets than before."""
        short = np.flatnonzero(lengths > self.state.rows["bucket_room"][rows])
        for i in short:
            row, length = int(rows[i]), int(lengths[i])
            if length > self.state.rows["bucket_room"][row]:
                self.state.rows[row]["bucket_at"] = self._new("buckets", length)
                self.state.rows[row]["bucket_room"], self.state.rows[row]["bucket_len"] = length, 0

    def _whole(self, series: Series, part: Part) -> Series:
        """The classic histogram that a part belongs to."""
        labels = tuple(pair for pair in series.labels if pair[0] != "le")
        return replace(series, metric=part.metric, labels=labels, kind=Kind.HISTOGRAM)

    def _specs_of(self, series: Series) -> tuple[ModelSpec, ...]:
        """Its specs; asked once for all series that no spec can tell apart."""
        labels = tuple(pair for pair in series.labels if pair[0] in self._names)
        instance = tuple(pair for pair in series.instance if pair[0] in self._names)
        key = series.metric, series.unit, series.kind, labels, instance
        if key not in self._fitting:
            if len(self._fitting) >= MOST_FITTING:
                self._fitting.clear()
            anyone = replace(series, environment="", group="", labels=labels, instance=instance, bounds=())
            self._fitting[key] = specs_for(anyone, self.specs)
        return self._fitting[key]

    def _feed_value(self, row: int, series: Series, spec: ModelSpec, lateness: int) -> None:
        """Judge a gauge or a counter by itself, in its aggregate, or both."""
        if spec.members or spec.sum is Sum.NONE:
            judged = self._judge(series, self._quantity(series), series.labels, series.instance, spec)
            self.state.rows[row]["judged"], self.raw[judged] = judged, row
        if spec.sum is Sum.NONE:
            return
        key = self._key(series, spec, "value")
        if key not in self._aggregate and spec.sum is Sum.INSTANCES and spec.members:
            first = self._alone.setdefault(key, row)
            if first == row:
                return  # alone: the aggregate would be the same thing twice
            self._join(first, self._value_aggregate(key, series, spec, lateness), AMOUNT, 1)
        self._join(row, self._value_aggregate(key, series, spec, lateness), AMOUNT, 1)

    def _value_aggregate(self, key: tuple[object, ...], series: Series, spec: ModelSpec, lateness: int) -> int:
        reading = MEAN if is_averaged(series) else SUM
        agg, new = self._gather(key, reading, LANES, lateness)
        if new:
            self._judge_aggregate(agg, 0, series, self._quantity(series), spec)
        return agg

    def _feed_distribution(self, row: int, series: Series, part: Part | None, spec: ModelSpec, lateness: int) -> None:
        """Let a histogram, or a part of a classic one, feed its aggregate, and judge what the spec asks of that."""
        buckets = len(series.bounds) + 1 if series.bounds else 0
        agg, new = self._gather(self._key(series, spec, "distribution"), DISTRIBUTION, LANES + buckets, lateness)
        if new:
            self.state.aggregates[agg]["cumulated"] = part is not None
            self._bound(agg, list(series.bounds), [LANES + j for j in range(len(series.bounds))])
        if spec.signal is Signal.LATENCY:
            self.fewest[agg] = spec.min_events
        for quantity in OF_SIGNAL.get(spec.signal, OF_OTHERS):
            if self.judged[agg, QUANTITIES.index(quantity)] < 0:
                self._judge_aggregate(agg, QUANTITIES.index(quantity), series, quantity, spec)
        if part is None:
            same = tuple(series.bounds) == tuple(self._bounds(agg))
            self._join(row, agg, HISTOGRAM, 1, resolved=same)
            self._name_unit(agg, series.unit)
        elif part.lane > 0:
            self._join(row, agg, AMOUNT, part.lane)
            self._name_unit(agg, series.unit if part.lane == 2 else "")
        elif part.bound is not None and np.isfinite(part.bound):
            self._join(row, agg, AMOUNT, self._lane(agg, part.bound))
            self._name_unit(agg, series.unit)

    def _feed_ratio(self, row: int, series: Series, part: Part | None, spec: ModelSpec, lateness: int) -> None:
        """Count a series among the total, and among the errors if its labels say so."""
        if series.kind is Kind.GAUGE or spec.errors is None or (part is not None and part.lane != 1):
            return
        errors = set(spec.errors.label)
        rest = replace(series, labels=tuple(pair for pair in series.labels if pair[0] not in errors))
        agg, new = self._gather(self._key(rest, spec, "ratio"), RATIO, LANES, lateness)
        if new:
            self._judge_aggregate(agg, 0, rest, "error ratio", spec)
        self._join(row, agg, ERROR if is_error(spec.errors, series.labels + series.instance) else TOTAL, 1)

    def _quantity(self, series: Series) -> str:
        return "value" if series.kind is Kind.GAUGE else "rate"

    def _key(self, series: Series, spec: ModelSpec, what: str) -> tuple[object, ...]:
        """Which aggregate: specs that put the same members together share it, but for the ratio, which has its own."""
        labels = () if spec.sum is Sum.GROUP else series.labels
        instance = series.instance if spec.sum is Sum.NONE else None
        own = (spec.name, "") if what == "ratio" else ("", series.unit if what == "value" else "")
        return series.environment, series.group, series.metric, labels, instance, what, *own

    def _judge(self, series: Series, quantity: str, labels: Labels, instance: Labels | None, spec: ModelSpec) -> int:
        """A new judged row, started from what a sibling knows."""
        unit = {"rate": per_second(series.unit), "error ratio": "1"}.get(quantity, series.unit)
        subject = Subject(
            series.environment, series.group, series.metric, quantity, labels, instance, unit, self._index[id(spec)]
        )
        traffic = spec.signal is Signal.TRAFFIC and quantity == "rate" and instance is None
        row = self.judge.add(subject.spec, quantity == "error ratio", traffic)
        self.subjects.append(subject)
        if instance:
            siblings = self._donors[(*subject.key[:5], subject.spec)]
            knows = self.judge.bank.warm(siblings) if siblings else np.zeros(0, np.bool_)
            if knows.any():
                self.judge.bank.prime(row, siblings[int(np.flatnonzero(knows)[-1])])
            siblings.append(row)
            del siblings[:-DONORS]
        return row

    def _judge_aggregate(self, agg: int, quantity_at: int, series: Series, quantity: str, spec: ModelSpec) -> None:
        labels = () if spec.sum is Sum.GROUP else series.labels
        instance = series.instance if spec.sum is Sum.NONE else None
        shown = replace(series, unit="" if self._is_count(agg, quantity) else series.unit)
        self.judged[agg, quantity_at] = self._judge(shown, quantity, labels, instance, spec)
        self._about[agg].append(self.subjects[-1])

    def _is_count(self, agg: int, quantity: str) -> bool:
        """Whether the rate is of observations, whatever unit they are measured in."""
        return bool(self.state.aggregates["reading"][agg] == DISTRIBUTION) and quantity == "rate"

    def _name_unit(self, agg: int, unit: str) -> None:
        for subject in self._about[agg]:
            if subject.quantity not in ("rate", "error ratio") and not subject.unit:
                subject.unit = unit

    def _gather(self, key: tuple[object, ...], reading: int, width: int, lateness: int) -> tuple[int, bool]:
        """The aggregate of a key, and whether it is new."""
        if key in self._aggregate:
            agg = self._aggregate[key]
            self.state.aggregates[agg]["lateness"] = max(int(self.state.aggregates["lateness"][agg]), lateness)
            return agg, False
        agg = self._aggregate[key] = self._new("aggregates", 1)
        if agg >= len(self.judged):
            more = max(64, agg)
            self.judged = np.concatenate([self.judged, np.full((more, 4), -1, np.int32)])
            self.fewest = np.concatenate([self.fewest, np.zeros(more)])
        at = self._new("lanes", CELLS * width)
        self.state.aggregates[agg] = (0, 0, 0, lateness, at, 0, 0, width, -1, 0, reading, 0, 0)
        self.widest = max(self.widest, width)
        self._about.append([])
        return agg, True

    def _join(self, row: int, agg: int, role: int, lane: int, resolved: bool = False) -> None:
        """Make a row a member of an aggregate, once."""
        if (agg, row) in self._joined:
            return
        self._joined.add((agg, row))
        m = self._new("members", 1)
        rows, aggregates = self.state.rows, self.state.aggregates
        after, next_of_agg = int(rows["members"][row]), int(aggregates["head"][agg])
        self.state.members[m] = (0.0, 0.0, row, agg, after, next_of_agg, lane, role, 0, resolved)
        rows[row]["members"], aggregates[agg]["head"] = m, m

    def _bounds(self, agg: int) -> list[float]:
        one = self.state.aggregates[agg]
        return [float(b) for b in self.state.bounds[one["bounds_at"] : one["bounds_at"] + one["bounds_len"]]]

    def _bound(self, agg: int, bounds: list[float], order: list[int]) -> None:
        """Write the bounds of an aggregate and the lanes of their buckets, at a new place."""
        at = self._new("bounds", len(bounds))
        self.state.bounds[at : at + len(bounds)] = bounds
        self.state.order[at : at + len(bounds)] = order
        self.state.aggregates[agg]["bounds_at"], self.state.aggregates[agg]["bounds_len"] = at, len(bounds)

    def _lane(self, agg: int, bound: float) -> int:
        """The lane of a classic bucket; a new one widens the aggregate's cells."""
        one = self.state.aggregates[agg]
        at, n = int(one["bounds_at"]), int(one["bounds_len"])
        bounds = self._bounds(agg)
        order = [int(lane) for lane in self.state.order[at : at + n]]
        if bound in bounds:
            return order[bounds.index(bound)]
        lane, width = LANES + n, int(one["width"]) + 1
        pairs = sorted([*zip(bounds, order, strict=True), (bound, lane)])
        self._bound(agg, [b for b, _ in pairs], [o for _, o in pairs])
        self._widen(agg, width)
        return lane

    def _widen(self, agg: int, width: int) -> None:
        old, had = int(self.state.aggregates["at"][agg]), int(self.state.aggregates["width"][agg])
        new = self._new("lanes", CELLS * width)
        held = self.state.lanes[old : old + CELLS * had].reshape(CELLS, had)
        self.state.lanes[new : new + CELLS * width].reshape(CELLS, width)[:, :had] = held
        self.state.aggregates[agg]["at"], self.state.aggregates[agg]["width"] = new, width
        self.widest = max(self.widest, width)

    def _group_of(self, series: Series) -> int:
        key = series.environment, series.group
        if key not in self._group:
            self._group[key] = self._new("groups", 1)
            self.groups.append(key)
        return self._group[key]

    def _family_of(self, series: Series) -> int:
        key = series.environment, series.group, series.metric, series.instance
        if key not in self._family:
            self._family[key] = self._new("families", 1)
        return self._family[key]

    def _new(self, what: str, n: int) -> int:
        """The first of `n` new places of an array of the state."""
        at = self._used[what]
        self._used[what] = at + n
        if at + n <= getattr(self.state, what).size:
            return at
        larger: dict[str, Any] = {what: grown(getattr(self.state, what), at + n)}
        if what == "bounds":
            larger["order"] = grown(self.state.order, at + n)
        self.state = self.state._replace(**larger)
        return at
