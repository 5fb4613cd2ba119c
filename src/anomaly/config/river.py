"""Which of river's models a spec can name, how each is asked, and what is wrong with the parameters that it is given.

Named can be what judges a single series in reasonable time. A parameter can be given if it is a plain number, word or truth,
so that YAML can say it. A model with a `seed` gets one, for a replay must score as the stream did. river is imported when a
spec names it, and not before.
"""

import importlib
import inspect
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Annotated, Any, NamedTuple

from msgspec import Meta, field

from anomaly.config.mistake import one_of, shown
from anomaly.config.settings import Frozen

TRIED = 40  # values that a model has to bear before it is believed that it works
SEED = 1
COUNTED = "seed", "window_size"  # whole numbers where river has no default


class River(Frozen, frozen=True):
    """Model river: one of river's models for each series, which sees nothing but its values."""

    model: str = field(name="class")
    parameters: dict[str, Any] = {}
    memory: Annotated[int, Meta(ge=16, le=65_536)] = 512  # values from which the model can be made again


class Asked(Enum):
    """How river's model wants its values."""

    SHARE = "score_one of a value between 0 and 1"
    TARGET = "score_one of a value as the target"
    DRIFT = "update with a value, and say whether it drifted"


class Known(NamedTuple):
    """Where river has a class, and how it is asked; `likely`: its score is a share, 1 the oddest."""

    module: str
    asked: Asked
    likely: bool = False


KNOWN = {
    "HalfSpaceTrees": Known("river.anomaly", Asked.SHARE, likely=True),
    "GaussianScorer": Known("river.anomaly", Asked.TARGET, likely=True),
    "StandardAbsoluteDeviation": Known("river.anomaly", Asked.TARGET),
    "ADWIN": Known("river.drift", Asked.DRIFT),
    "KSWIN": Known("river.drift", Asked.DRIFT),
    "PageHinkley": Known("river.drift", Asked.DRIFT),
}


def nameable(model: str) -> Mapping[str, object]:
    """The parameters that can be given to a class, with their defaults."""
    made = inspect.signature(getattr(importlib.import_module(KNOWN[model].module), model)).parameters
    plain = bool | int | float | str
    return {name: p.default for name, p in made.items() if name in COUNTED or isinstance(p.default, plain)}


def make(spec: River) -> Any:
    """river's model, knowing nothing."""
    seeded = {"seed": SEED} if "seed" in nameable(spec.model) else {}
    return getattr(importlib.import_module(KNOWN[spec.model].module), spec.model)(**seeded | spec.parameters)


def mistakes(spec: River) -> Iterator[tuple[str, str]]:
    """(key below `river`, what is wrong and what would be right)."""
    if spec.model not in KNOWN:
        yield "class", f"{shown(spec.model)} is none of river's models that can be named; {one_of(spec.model, list(KNOWN))}"
        return
    wrong = list(_parameters(spec))
    yield from wrong
    window = {**nameable(spec.model), **spec.parameters}.get("window_size")
    if isinstance(window, int) and window > spec.memory and not wrong:
        yield "memory", f"{spec.memory} values do not hold a window_size of {window}; write memory: {window} or more"
    elif not wrong and (why := refused(spec)):
        yield "parameters", f"{shown(spec.parameters)} are not borne by river's {spec.model}: {why}; mend or remove them"


def _parameters(spec: River) -> Iterator[tuple[str, str]]:
    known = nameable(spec.model)
    for name, value in spec.parameters.items():
        key, default = f"parameters.{name}", known.get(name)
        if name not in known:
            yield key, f"is no parameter of {spec.model} that can be written here; {one_of(name, list(known))}"
            continue
        kind = int if default is None else type(default)
        fits = isinstance(value, int | float) if kind is float else isinstance(value, kind)
        if not fits or (isinstance(value, bool) and kind is not bool):
            words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}[kind]
            yield key, f"{shown(value)} is not {words}; river's default is {shown(default)}"


def refused(spec: River) -> str:
    """Why river's model does not bear its parameters: tried on a few values; empty if it does."""
    try:
        model = make(spec)
        for i in range(TRIED):
            ask(model, KNOWN[spec.model].asked, 0.5 + 0.01 * (i % 7), teach=True)
    except Exception as error:  # whatever river raises for a parameter it cannot work with
        return f"{type(error).__name__}: {error}"
    return ""


def ask(model: Any, asked: Asked, value: float, teach: bool) -> float:
    """River's raw score of a value, higher is odder, before it is learned; what tells drift does so only as it learns."""
    match asked:
        case Asked.DRIFT:
            if teach:
                model.update(value)
            return float(teach and model.drift_detected)
        case Asked.TARGET:
            raw = model.score_one({}, value)
            if teach:
                model.learn_one({}, value)
        case _:
            raw = model.score_one({"value": value})
            if teach:
                model.learn_one({"value": value})
    return float(raw)
