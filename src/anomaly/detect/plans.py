"""What a series needs by its specs: planned once for all series that no spec can tell apart, and carried out by `enter`.

The shape of a series is its metric, unit and kind, and those of its labels that some spec looks at. A histogram has no value
of its own, it always feeds an aggregate. Prometheus' classic histograms and summaries come as counters `X_bucket{le}`,
`X_count` and `X_sum`: they are parts of one aggregate X and are not judged by themselves.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly.config.models import VALUED, Errors, Model, ModelSpec, Signal, Sum, specs_for
from anomaly.decode.identity import Labels, Series
from anomaly.decode.index import Index
from anomaly.decode.points import Kind
from anomaly.decode.wire import hash_bytes
from anomaly.detect.enter import INSTANCES, NONE, PLAN, WHOLE
from anomaly.detect.rows import ERROR, TOTAL
from anomaly.detect.text import buffer, key_of, to_text
from anomaly.table import Table

MOST_PLANNED = 100_000  # shapes that specs can tell apart, of which we remember what they need
OVER = {Sum.INSTANCES: INSTANCES, Sum.GROUP: WHOLE, Sum.NONE: NONE}


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


def whole(series: Series, part: Part | None) -> Series:
    """The classic histogram that a part belongs to, or the series itself."""
    if part is None:
        return series
    labels = tuple(pair for pair in series.labels if pair[0] != "le")
    return replace(series, metric=part.metric, labels=labels, kind=Kind.HISTOGRAM)


def is_error(errors: Errors, labels: Labels) -> bool:
    """Whether the first of the named labels that the series has fits one of the patterns."""
    held = dict(labels)
    value = next((held[name] for name in errors.label if name in held), None)
    return value is not None and _fits(value, errors.value)


@lru_cache(4096)
def _fits(value: str, patterns: tuple[str, ...]) -> bool:
    """Whether one of the patterns fits: codes are few, and so many series have them."""
    return any(fnmatchcase(value, pattern) for pattern in patterns)


def is_averaged(series: Series) -> bool:
    """Whether members are put together by averaging: a sum of utilizations means nothing."""
    share = series.unit in ("1", "%") or series.metric.endswith(("ratio", "utilization", "percent"))
    return series.kind is Kind.GAUGE and share


def is_counted(series: Series, part: Part | None, spec: ModelSpec) -> bool:
    """Whether a series counts among the total or the errors of a ratio."""
    return series.kind is not Kind.GAUGE and spec.errors is not None and (part is None or part.lane == 1)


class Plans:
    """Plans by shape, as rows of PLAN for `enter`."""

    def __init__(self, specs: Sequence[ModelSpec], seed: int) -> None:
        self.specs, self.seed = tuple(specs), seed
        self._told_by = next((frozenset(s.errors.label) for s in self.specs if s.errors), frozenset[str]())
        self.names = self._hashes({name for s in self.specs for m in s.match for name in m.labels} | {"le"} | self._told_by)
        self.told_by = self._hashes(self._told_by)
        self._place = {id(spec): i for i, spec in enumerate(self.specs)}
        self._clear()

    def _hashes(self, names: Iterable[str]) -> NDArray[np.uint64]:
        texts = [to_text(name) for name in sorted(names)]
        return np.array([hash_bytes(buffer(t), 0, len(t), np.uint64(self.seed)) for t in texts], np.uint64)

    def _clear(self) -> None:
        self.table, self.index = Table("plans", {"plan": (PLAN, 0)}), Index()
        self.fitting: list[tuple[ModelSpec, ...]] = []  # by plan: the specs that judge such a series

    def make(self, shape: int, series: Series) -> None:
        """Plan for all series of a shape, of which this is one."""
        if self.table.used >= MOST_PLANNED:
            self._clear()
        specs, part = specs_for(series, self.specs), part_of(series)
        seen, at = whole(series, part), self.table.new()
        plan = self.table["plan"][at]
        self.fitting.append(specs)
        plan["key"], plan["spec"] = shape, -1
        plan["ignored"] = not specs or specs[0].model is Model.IGNORE
        if not plan["ignored"]:
            self._plan(plan, specs, seen, part)
        self.index.enter(at, self.table["plan"]["key"])

    def _plan(self, plan: np.void, specs: tuple[ModelSpec, ...], seen: Series, part: Part | None) -> None:
        values = [spec for spec in specs if spec.model in VALUED]
        counted = [spec for spec in specs if spec.model is Model.RATIO and is_counted(seen, part, spec)]
        has_value = seen.kind not in (Kind.HISTOGRAM, Kind.HISTOGRAM_DELTA)
        plan["watched"] = any(spec.absence for spec in specs)
        distributed = bool(values) and not has_value
        plan["more"] = bool(counted) or distributed
        if len(counted) == 1 and not distributed and (errors := counted[0].errors) and set(errors.label) == self._told_by:
            plan["ratio"], plan["over"] = key_of(self.seed, counted[0].name), OVER[counted[0].sum]
            plan["role"] = ERROR if is_error(errors, seen.labels + seen.instance) else TOTAL
        if values and has_value:
            spec = values[0]
            plan["spec"], plan["name"] = self._place[id(spec)], key_of(self.seed, spec.name)
            plan["sum"], plan["members"], plan["averaged"] = OVER[spec.sum], spec.members, is_averaged(seen)
            plan["traffic"] = spec.signal is Signal.TRAFFIC
            plan["compared"] = spec.compares
            plan["long"] = plan["traffic"] and spec.pages and spec.sum is Sum.GROUP

    def place(self, spec: ModelSpec) -> int:
        """The number of a spec."""
        return self._place[id(spec)]
