"""The aggregates that need Python's help: distributions, over histograms or the parts of classic ones, and ratios of errors.

Python, once per new series that feeds one; from then on it is rows. Specs that put the same members together share an
aggregate, but for the ratio, which has its own.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from anomaly.config.models import VALUED, Model, ModelSpec, Signal, Sum
from anomaly.decode.identity import Series, pack
from anomaly.decode.index import Index
from anomaly.decode.points import Kind
from anomaly.detect.clocked import set_clocks
from anomaly.detect.enter import join
from anomaly.detect.judge import NEIGHBOUR, Judge
from anomaly.detect.plans import Part, is_counted, is_error
from anomaly.detect.rows import (
    AMOUNT,
    BOUND,
    CELLS,
    DISTRIBUTION,
    ERROR,
    HISTOGRAM,
    LANES,
    LONG,
    LONG_LABEL,
    QUANTITIES,
    RATIO,
    TOTAL,
    Tables,
)
from anomaly.detect.subject import Subjects
from anomaly.detect.text import key_of, to_text

# What is judged of a histogram, by what the spec is about.
OF_SIGNAL = {Signal.TRAFFIC: ("rate",), Signal.LATENCY: ("mean", "p95", "p99"), Signal.SATURATION: ("mean", "p95", "p99")}
OF_OTHERS = ("rate", "mean", "p95")
# The same of a whole service in long cells.
OF_LONG = {Signal.TRAFFIC: ("rate",), Signal.LATENCY: ("mean",)}


class Combine:
    """Lets series feed distributions and ratios."""

    def __init__(self, tables: Tables, index: Index, subjects: Subjects, judge: Judge, seed: int) -> None:
        self.tables, self.index, self.subjects, self.judge, self.seed = tables, index, subjects, judge, seed

    def feed(
        self, row: int, seen: Series, part: Part | None, own: Series, spec: ModelSpec, number: int, lateness: int
    ) -> None:
        """Let a series (`own`; `seen` is the histogram that it is a part of) feed what a spec asks for."""
        if spec.model is Model.RATIO and is_counted(seen, part, spec):
            self._feed_ratio(row, seen, spec, number, lateness)
        elif spec.model in VALUED and seen.kind in (Kind.HISTOGRAM, Kind.HISTOGRAM_DELTA):
            self._feed_distribution(row, seen, part, own, spec, number, lateness)
            if spec.pages and spec.sum is Sum.GROUP and spec.signal in OF_LONG and (part is None or part.lane > 0):
                self._feed_long(row, seen, part, spec, number, lateness)

    def _feed_long(self, row: int, seen: Series, part: Part | None, spec: ModelSpec, number: int, lateness: int) -> None:
        """Let a histogram feed the sum of long cells, by its count and sum alone."""
        whole = replace(seen, labels=(LONG_LABEL,))
        a, _ = self._aggregate(self._key(whole, spec, "long"), row, whole, spec, DISTRIBUTION, LANES, lateness)
        agg = self.tables.aggregates["aggregate"][a]
        agg["labelled"], agg["least"] = 1, LONG
        if spec.signal is Signal.LATENCY:
            agg["fewest"] = spec.min_events
        judged = self.tables.aggregates["judged"]
        for quantity in OF_LONG[spec.signal]:
            which = QUANTITIES.index(quantity)
            if judged[a, which] < 0:
                self._judge(a, quantity, spec, number)
                short = self.index.one(self._key(seen, spec, "distribution"), self.tables.aggregates["aggregate"]["key"])
                self.judge.table["slot"][judged[a, which]] = NEIGHBOUR - judged[short, which]
        self._join(row, a, *((HISTOGRAM, 1) if part is None else (AMOUNT, part.lane)))
        if part is None or part.lane == 2:
            self._name_unit(a, whole)

    def _feed_distribution(
        self, row: int, seen: Series, part: Part | None, own: Series, spec: ModelSpec, number: int, lateness: int
    ) -> None:
        """Let a histogram, or a part of a classic one, feed its aggregate, and judge what the spec asks of that."""
        bounds = own.bounds if part is None else ()
        buckets = len(bounds) + 1 if bounds else 0
        key = self._key(seen, spec, "distribution")
        a, new = self._aggregate(key, row, seen, spec, DISTRIBUTION, LANES + buckets, lateness)
        agg = self.tables.aggregates["aggregate"][a]
        if new:
            agg["cumulated"] = part is not None
            self._bound(a, list(bounds), [LANES + j for j in range(len(bounds))])
        if spec.signal is Signal.LATENCY:
            agg["fewest"] = spec.min_events
        agg["asked"] |= spec.signal is Signal.TRAFFIC
        if spec.compares and agg["fleet"] == 0:
            agg["fleet"] = -1
        for quantity in OF_SIGNAL.get(spec.signal, OF_OTHERS):
            if self.tables.aggregates["judged"][a, QUANTITIES.index(quantity)] < 0:
                self._judge(a, quantity, spec, number)
        if part is None:
            held = self._bounds(a)["upper"]
            same = held.size == len(bounds) and bool((held == np.array(bounds)).all())
            self._join(row, a, HISTOGRAM, 1, same)
            self._name_unit(a, seen)
        elif part.lane > 0:
            self._join(row, a, AMOUNT, part.lane)
            self._name_unit(a, seen if part.lane == 2 else replace(seen, unit=""))
        elif part.bound is not None and np.isfinite(part.bound):
            self._join(row, a, AMOUNT, self._lane(a, part.bound))
            self._name_unit(a, seen)

    def _feed_ratio(self, row: int, seen: Series, spec: ModelSpec, number: int, lateness: int) -> None:
        """Count a series among the total, and among the errors if its labels say so."""
        assert spec.errors is not None
        errors = set(spec.errors.label)
        rest = replace(seen, labels=tuple(pair for pair in seen.labels if pair[0] not in errors))
        a, new = self._aggregate(self._key(rest, spec, "ratio"), row, rest, spec, RATIO, LANES, lateness)
        if new:
            self._judge(a, "error ratio", spec, number)
            self.tables.aggregates["aggregate"]["fleet"][a] = -1 if spec.compares else 0
        self._join(row, a, ERROR if is_error(spec.errors, seen.labels + seen.instance) else TOTAL, 1)

    def _key(self, series: Series, spec: ModelSpec, what: str) -> int:
        labels = () if spec.sum is Sum.GROUP else series.labels
        instance = series.instance if spec.sum is Sum.NONE else None
        own = spec.name if what == "ratio" else ""
        return key_of(self.seed, series.environment, series.group, series.metric, labels, instance, what, own)

    def _aggregate(
        self, key: int, row: int, series: Series, spec: ModelSpec, reading: int, width: int, lateness: int
    ) -> tuple[int, bool]:
        """The aggregate of a key, and whether it is new."""
        table = self.tables.aggregates
        a = self.index.one(key, table["aggregate"]["key"])
        if a >= 0:
            table["aggregate"]["lateness"][a] = max(int(table["aggregate"]["lateness"][a]), lateness)
            table.touched[a] = 1
            return a, False
        a = table.new()
        agg = table["aggregate"][a]
        agg["key"], agg["lateness"], agg["head"], agg["width"], agg["reading"] = key, lateness, -1, width, reading
        agg["group"] = self.tables.rows["row"]["group"][row]
        agg["labelled"], agg["instanced"] = spec.sum is not Sum.GROUP, spec.sum is Sum.NONE
        table["judged"][a] = -1
        self._text(a, series)
        at = table.place(self.tables.lanes, CELLS * width)
        self.tables.lanes.array[at : at + CELLS * width] = 0.0
        agg["lanes_at"], agg["lanes_len"] = at, CELLS * width
        self.index.enter(a, table["aggregate"]["key"])
        return a, True

    def _text(self, a: int, series: Series) -> None:
        """Write who an aggregate is."""
        whole = pack(series)
        text = whole[1 + len(to_text(series.environment)) + len(to_text(series.group)) : -len(to_text(series.group_hash))]
        at = self.tables.aggregates.place(self.tables.aggregate_text, len(text))
        self.tables.aggregate_text.array[at : at + len(text)] = np.frombuffer(text, np.uint8)
        agg = self.tables.aggregates["aggregate"][a]
        agg["text_at"], agg["text_len"] = at, len(text)
        self.tables.aggregates.touched[a] = 1

    def _name_unit(self, a: int, series: Series) -> None:
        """Some parts of a classic histogram tell the unit, others do not."""
        held = self.subjects.aggregate(a)
        if series.unit and not held.unit:
            self._text(a, replace(held, unit=series.unit))

    def _judge(self, a: int, quantity: str, spec: ModelSpec, number: int) -> None:
        """A judged row for a quantity of an aggregate; one of a ratio stands in the first place."""
        which, table = QUANTITIES.index(quantity), self.tables.aggregates
        row = self.tables.subjects.new()
        one = self.tables.subjects["subject"][row]
        one["of"], one["whole"], one["quantity"] = a, 1, which
        alone = spec.sum is not Sum.NONE
        traffic = spec.signal is Signal.TRAFFIC and quantity == "rate" and alone
        self.judge.give(row, number, quantity == "error ratio", traffic)
        set_clocks(self.tables, self.judge, np.array([row], np.int32))
        table["judged"][a, which if which < 4 else 0] = row
        table.touched[a] = 1

    def _join(self, row: int, a: int, role: int, lane: int, resolved: bool = False) -> None:
        """Make a row a member of an aggregate, once."""
        members = self.tables.members
        members.reserve(members.used + 1)
        join(row, a, role, lane, resolved, self.tables.state(), members.count)

    def _bounds(self, a: int) -> NDArray[np.void]:
        one = self.tables.aggregates["aggregate"][a]
        return self.tables.bounds.array[one["bounds_at"] : one["bounds_at"] + one["bounds_len"]]

    def _bound(self, a: int, bounds: list[float], order: list[int]) -> None:
        """Write the bounds of an aggregate and the lanes of their buckets, at a new place."""
        at = self.tables.aggregates.place(self.tables.bounds, len(bounds))
        agg = self.tables.aggregates["aggregate"][a]
        agg["bounds_at"], agg["bounds_len"] = at, len(bounds)
        self.tables.bounds.array[at : at + len(bounds)] = np.array(
            [(b, o, 0) for b, o in zip(bounds, order, strict=True)], BOUND
        )

    def _lane(self, a: int, bound: float) -> int:
        """The lane of a classic bucket; a new one widens the aggregate's cells."""
        held = self._bounds(a).copy()
        known = np.flatnonzero(held["upper"] == bound)
        if known.size:
            return int(held["lane"][known[0]])
        lane = LANES + held.size
        pairs = sorted([*zip(held["upper"].tolist(), held["lane"].tolist(), strict=True), (bound, lane)])
        self._bound(a, [b for b, _ in pairs], [o for _, o in pairs])
        self.widen(a, int(self.tables.aggregates["aggregate"]["width"][a]) + 1)
        return lane

    def widen(self, a: int, width: int) -> None:
        """Give the open cells of an aggregate more lanes."""
        agg = self.tables.aggregates["aggregate"][a]
        had = int(agg["width"])
        old = self.tables.lanes.array[agg["lanes_at"] : agg["lanes_at"] + CELLS * had].copy()
        at = self.tables.aggregates.place(self.tables.lanes, CELLS * width)
        new = self.tables.lanes.array[at : at + CELLS * width].reshape(CELLS, width)
        new[:], new[:, :had] = 0.0, old.reshape(CELLS, had)
        agg["lanes_at"], agg["lanes_len"], agg["width"] = at, CELLS * width, width
        self.tables.aggregates.touched[a] = 1
