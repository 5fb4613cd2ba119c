"""Fleets of series for `budget.py`: from fault-free stretches of NAB, or generated, and what detect says of them.

A fleet is made series by series and judged at once, so that a hundred thousand series need no more room than a thousand:
what is kept are the episodes. A series of a fleet is one service of its own, or one of five signals of a service.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import msgspec
import numpy as np
from benchmarks.nab import ALERT, File, default_spec
from numpy.typing import NDArray

from anomaly.config.models import Direction, ModelSpec
from anomaly.detect.anomaly import Anomaly, Event
from anomaly.detect.bank import Bank
from anomaly.detect.episodes import OPENED, REASONS, RECORD, Episodes
from anomaly.detect.walk import walk

T0 = 1_767_571_200_000  # Monday 2026-01-05, ms
DAY_MS, DAY_S, STEP_S = 86_400_000, 86_400, 300
TOGETHER = 64  # series judged as one block
GROUP = 5  # signals of a service, in generated fleets
LEAST_DAYS = 3  # of a stretch: fewer are no series
SPEC: ModelSpec = msgspec.structs.replace(default_spec(), pages=True)

Floats = NDArray[np.float64]
Times = NDArray[np.int64]


class Track(NamedTuple):
    """A series: its service, times in ms and values; `windows` are its labelled faults."""

    group: str
    time: Times
    value: Floats
    windows: tuple[tuple[int, int], ...] = ()


@dataclass
class Fleet:
    """What detect said of a fleet, in order of time."""

    name: str
    series: int
    days: int
    events: list[Anomaly] = field(default_factory=list)
    windows: list[tuple[str, int, int]] = field(default_factory=list)


class Stretch(NamedTuple):
    """A fault-free stretch of a file, at even steps of `step` seconds."""

    key: str
    step: int
    value: Floats


def judged(name: str, days: int, tracks: Iterator[Track]) -> Fleet:
    """The shipped default model over all tracks."""
    fleet, held = Fleet(name, 0, days), list[Track]()
    for track in tracks:
        held.append(track)
        if len(held) == TOGETHER:
            take(fleet, held)
            held = []
    if held:
        take(fleet, held)
    fleet.events.sort(key=lambda a: (a.time, a.started, a.id))
    return fleet


def take(fleet: Fleet, tracks: Sequence[Track]) -> None:
    """Judge some series, one after the other, and keep what was said."""
    bank, episodes, alone = Bank(), Episodes([SPEC], told_at=ALERT), dict[int, bool]()
    bank.ensure(len(tracks))
    episodes.ensure(len(tracks))
    row = np.repeat(np.arange(len(tracks)), [t.time.size for t in tracks])
    zeros = np.zeros(row.size, np.int64)
    time, value = np.concatenate([t.time for t in tracks]), np.concatenate([t.value for t in tracks])
    verdict, said = walk(bank, episodes, row, time, value, np.full(row.size, SPEC.season), zeros, zeros)
    columns = (said.index, said.row, said.event, said.started, said.score, said.observed, said.low, said.high, said.side,
               said.reason)  # fmt: skip
    for at, r, event, started, score, observed, low, high, side, reason in zip(*(c.tolist() for c in columns), strict=True):
        now, kind = int(time[at]), Event.OPEN if event == OPENED else Event.RECORD if event == RECORD else Event.CLOSE
        number = fleet.series + r
        alone[r] = now == started if kind is not Event.CLOSE else alone[r]
        fleet.events.append(
            Anomaly(
                id=f"{number}-{started}",
                event=kind,
                time=now,
                environment="prod",
                group=tracks[r].group,
                metric="m",
                quantity="value",
                labels=(("series", str(number)),),
                instance=(),
                aggregate=True,
                unit="",
                signal=SPEC.signal,
                spec=SPEC.name,
                pages=True,
                started=started,
                direction=Direction.ABOVE if side > 0 else Direction.BELOW,
                ended=now if kind is Event.CLOSE else None,
                score=score,
                observed=observed,
                current=float(value[at]),
                expected=(low, high),
                events=None,
                bad=False,
                learned=float(verdict.learned[at]),
                points=((now, float(value[at])),),
                reason=REASONS[reason],
                alone=alone[r],
            )
        )
    fleet.windows += [(t.group, first, last) for t in tracks for first, last in t.windows]
    fleet.series += len(tracks)


# What comes from NAB.


def stretches(corpus: Sequence[File]) -> list[Stretch]:
    """What lies outside of the labelled windows of all files, where it is long enough; an hour's gap ends a stretch."""
    found = []
    for file in corpus:
        step = int(np.median(np.diff(file.time))) // 1000
        inside = np.zeros(file.time.size, bool)
        for first, last in file.windows:
            inside |= (file.time >= first) & (file.time <= last)
        breaks = np.flatnonzero(np.diff(file.time) > max(3_600_000, 3000 * step)) + 1
        edges = np.unique(np.r_[0, np.flatnonzero(np.diff(inside.astype(np.int8))) + 1, breaks, file.time.size])
        for a, b in pairwise(edges.tolist()):
            if not inside[a] and (b - a) * step >= LEAST_DAYS * DAY_S:
                found.append(Stretch(file.key, step, file.value[a:b]))
    return found


def bootstrapped(stretch: Stretch, days: int, rng: np.random.Generator) -> Floats:
    """So many days, of pieces of one to five days that begin at the time of day at which the last one ended."""
    per_day = max(DAY_S // stretch.step, 1)
    whole = stretch.value.size // per_day  # days
    pieces, n = list[Floats](), 0
    while n < days:
        length = min(int(rng.integers(1, 6)), whole, days - n)
        begin = int(rng.integers(0, whole - length + 1)) * per_day
        pieces.append(stretch.value[begin : begin + length * per_day])
        n += length
    return np.concatenate(pieces)


def from_nab(corpus: Sequence[File], series: int, days: int, labelled: int, rng: np.random.Generator) -> Iterator[Track]:
    """Fault-free series; and `labelled` files as they are, each after a history made of its own fault-free stretches."""
    pool = stretches(corpus)
    for i in range(series - labelled):
        one = pool[int(rng.integers(len(pool)))]
        value = bootstrapped(one, days, rng)
        yield Track(f"s{i}", T0 + np.arange(value.size) * one.step * 1000, value)
    ill = [f for f in corpus if f.windows and any(s.key == f.key for s in pool)]
    for i in rng.permutation(len(ill))[:labelled].tolist():
        file, own = ill[i], [s for s in pool if s.key == ill[i].key]
        last = int((file.time[-1] - file.time[0]) // DAY_MS) + 1
        before = days - last
        if before < 7:
            continue
        step = own[0].step
        value = np.concatenate([bootstrapped(own[int(rng.integers(len(own)))], before, rng)])
        # The file begins at a midnight of the fleet, so its own time of day is kept within a step.
        shift = T0 + before * DAY_MS + int(file.time[0] % DAY_MS) - int(file.time[0])
        time = np.r_[T0 + np.arange(value.size) * step * 1000, file.time + shift]
        keep = np.r_[True, np.diff(time) > 0]
        windows = tuple((a + shift, b + shift) for a, b in file.windows)
        yield Track(f"f{i}", time[keep], np.r_[value, file.value][keep], windows)


# What is generated.

Change = Callable[[Floats, int, "Shared"], Floats]


class Shared(NamedTuple):
    """What all series of a generated fleet have in common: its clock in days, its chance, and what happens to all."""

    day: Floats
    rng: np.random.Generator
    shocks: list[tuple[int, float, float]]  # point, share of the services, size
    regime: int  # the point at which half of the services change for good


def generated(series: int, days: int, changes: Sequence[Change], growth: bool, rng: np.random.Generator) -> Iterator[Track]:
    """Series of several kinds, five to a service, with what `changes` do to them, in spreads."""
    n = days * DAY_S // STEP_S
    when = np.sort(rng.integers(n // 4, n, max(days // 14, 1)))
    shocks = [(int(w), float(rng.uniform(0.05, 0.3)), float(rng.uniform(3, 10))) for w in when]
    shared = Shared(np.arange(n) * STEP_S / DAY_S, rng, shocks, int(rng.integers(n // 3, n)))
    time = T0 + np.arange(n) * STEP_S * 1000
    for i in range(series):
        noise = kinds(shared)
        for change in changes:
            noise = change(noise, i // GROUP, shared)
        season = rng.choice([0.0, 1.0, 3.0, 6.0]) * np.sin(2 * np.pi * (shared.day + rng.uniform()))
        season += rng.choice([0.0, 0.0, 2.0]) * (shared.day % 7 >= 5)
        begin = int(rng.uniform(0, 0.75) * n) if growth and i % 2 else 0
        yield Track(f"g{i // GROUP}", time[begin:], (100.0 + (noise + season) * 10.0 ** rng.uniform(-1, 1))[begin:])


def kinds(shared: Shared) -> Floats:
    """Noise of one kind: Gaussian, heavy-tailed, counts, correlated, or many levels at once. Its spread is about 1."""
    rng, n = shared.rng, shared.day.size
    match int(rng.integers(5)):
        case 0:
            return rng.normal(size=n)
        case 1:
            return rng.lognormal(0.0, 0.8, n)
        case 2:
            return rng.poisson(rng.choice([0.05, 0.5, 5.0]), n).astype(np.float64)
        case 3:
            return smooth(rng.normal(size=n), 12)
        case _:
            return np.asarray(np.round(rng.normal(size=n)), np.float64)


def smooth(noise: Floats, over: int) -> Floats:
    """A moving average of so many points, at the spread that it had."""
    total = np.cumsum(np.r_[np.zeros(over), noise])
    moved: Floats = (total[over:] - total[:-over]) / np.sqrt(over)
    return moved


def bursts(value: Floats, service: int, shared: Shared) -> Floats:
    """About one in two days, a few points long, of any size."""
    rng, n = shared.rng, value.size
    for at in rng.integers(0, n, rng.poisson(0.5 * n * STEP_S / DAY_S)):
        value[at : at + int(rng.integers(1, 7))] += rng.lognormal(1.5, 0.8)
    return value


def trends(value: Floats, service: int, shared: Shared) -> Floats:
    """A slope of up to two spreads a week, and a slow wandering."""
    rng = shared.rng
    moved: Floats = value + rng.uniform(-2, 2) * shared.day / 7 + np.cumsum(rng.normal(0, 0.01, value.size))
    return moved


def shocks(value: Floats, service: int, shared: Shared) -> Floats:
    """What hits 5 to 30 % of the services at once, for half an hour to four hours."""
    for at, share, size in shared.shocks:
        if np.random.default_rng((service, at)).uniform() < share:
            value[at : at + int(shared.rng.integers(6, 48))] += size * shared.rng.uniform(0.5, 1.5)
    return value


def regimes(value: Floats, service: int, shared: Shared) -> Floats:
    """A level or a spread that is another from some time on, about every two weeks; and for half of the services at once."""
    rng, n = shared.rng, value.size
    for at in rng.integers(0, n, rng.poisson(n * STEP_S / DAY_S / 14)):
        value[at:] = value[at:] * rng.uniform(0.7, 1.4) + rng.normal(0, 3)
    if np.random.default_rng((service, 7)).uniform() < 0.5:
        value[shared.regime :] *= 1.7
    return value


GENERATED: dict[str, tuple[Sequence[Change], bool]] = {
    "calm": ((), False),
    "bursts": ((bursts,), False),
    "trends": ((trends,), False),
    "shocks": ((shocks,), False),
    "growth": ((), True),
    "regimes": ((regimes,), False),
    "everything": ((bursts, trends, shocks, regimes), True),
}


def makers(
    corpus: Sequence[File], series: int, days: int, labelled: int
) -> dict[str, Callable[[np.random.Generator], Iterator[Track]]]:
    """How each kind of fleet is made, by its name."""
    made: dict[str, Callable[[np.random.Generator], Iterator[Track]]] = {
        "nab": partial(from_nab, corpus, series, days, 0),
        "nab with faults": partial(from_nab, corpus, series, days, labelled),
    }
    return made | {name: partial(generated, series, days, *how) for name, how in GENERATED.items()}
