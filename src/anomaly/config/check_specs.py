"""Mistakes of model specs that no single key shows: what would judge nothing, everything, or never alarm."""

from collections.abc import Iterator, Sequence

from anomaly.config.check import Found, doubles
from anomaly.config.mistake import shown
from anomaly.config.models import DEFAULT, Direction, Model, ModelSpec, Peers, Sum
from anomaly.config.river import mistakes

KINDS = ("gauge", "counter", "histogram")


def found(specs: Sequence[ModelSpec]) -> list[Found]:
    """Every mistake of the specs of one file."""
    mistakes = [Found(f"specs[{i}].{path}", text) for i, spec in enumerate(specs) for path, text in spec_mistakes(spec)]
    return mistakes + list(doubles("specs[{}].name", [s.name for s in specs], "each spec has a name of its own"))


def spec_mistakes(spec: ModelSpec) -> Iterator[Found]:
    """Of one spec."""
    if not spec.name:
        yield Found("name", "is empty; alerts and counters name the spec by it")
    yield from match_mistakes(spec)
    ratio = spec.model is Model.RATIO
    if ratio and spec.errors is None:
        yield Found("errors", "is missing; model ratio needs to know its errors: {label: [status], value: [5??]}")
    if not ratio and spec.errors is not None:
        yield Found("errors", f"are of no use to model {spec.model.value}; write model: ratio")
    for name in ("label", "value") if spec.errors else ():
        if not getattr(spec.errors, name):
            yield Found(f"errors.{name}", "is empty; no series would be an error")
    yield from river_mistakes(spec)
    if spec.bad is not None and ratio and not 0 < spec.bad <= 1:
        yield Found("bad", f"{spec.bad} must be a share (more than 0, at most 1) of a spec of model ratio")
    for name in ("bad", "warn"):
        if (level := getattr(spec, name)) is not None and not ratio and spec.direction is Direction.EITHER:
            yield Found(name, f"{level} has no side; write direction: above, or below, beside it")
    for name in ("warn", "until"):
        if getattr(spec, name) and spec.model is not Model.ADAPTIVE:
            yield Found(name, f"is of no use to model {spec.model.value}; write model: adaptive")
    if spec.sites and (spec.sum is not Sum.NONE or spec.model is Model.RATIO):
        yield Found("sites", f"are of each series by itself; write sum: {Sum.NONE.value}, and no model: ratio")
    if spec.until and spec.sum is not Sum.NONE:
        yield Found("until", f"is of each series by itself; write sum: {Sum.NONE.value}")
    if spec.peers is not Peers.NONE and spec.sum is Sum.NONE:
        yield Found("peers", f"{spec.peers.value} needs a sum: instances or group; with sum: none nothing is put together")
    for name in ("min_deviation", "min_relative", "min_events", "bad_events"):
        if getattr(spec, name) < 0:
            yield Found(name, f"{getattr(spec, name)} is negative; write 0 for no minimum")


def river_mistakes(spec: ModelSpec) -> Iterator[Found]:
    """What river's model is asked for."""
    named = spec.model is Model.RIVER
    if named and spec.river is None:
        yield Found("river", "is missing; model river needs to know which: {class: HalfSpaceTrees}")
    elif not named and spec.river is not None:
        yield Found("river", f"is of no use to model {spec.model.value}; write model: river")
    elif spec.river is not None:
        yield from (Found(f"river.{key}", text) for key, text in mistakes(spec.river))


def match_mistakes(spec: ModelSpec) -> Iterator[Found]:
    """What a spec takes."""
    if not spec.match:
        yield Found("match", "is empty; name the metrics: [{metric: [http.server.*]}]")
    for i, match in enumerate(spec.match):
        if not match.metric:
            yield Found(f"match[{i}].metric", "is empty; remove it to mean every metric of the other conditions")
        everything = match.metric == ("*",) and not (match.unit or match.labels or match.kind)
        if everything and spec.name != DEFAULT:
            yield Found(
                f"match[{i}]", f"takes every series; only the spec named `{DEFAULT}` may: name metrics, units or labels"
            )
        for kind in match.kind:
            if kind not in KINDS:
                yield Found(f"match[{i}].kind", f"{shown(kind)} is no kind; known: {', '.join(KINDS)}")
