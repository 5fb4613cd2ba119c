"""The first minutes of a new service: a point per ten seconds, generated, judged by the shipped default model.

Of each kind SERIES series begin from nothing. Without a fault: episodes that open within the first hour, and of them those
with the evidence of an alert, of a hundred series. With one: the sixth minute and the four that follow lie ten spreads
higher (up), or as much lower where the kind can (down); found if an episode opens in them, not before. A spread is the
standard deviation about the season; a counter's is that of its rate over ten seconds.
By the bank alone: no group gives a prior, and neither budget nor minimum deviation holds anything back.

    python benchmarks/first_minutes.py [--series 200] [--json]
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from benchmarks.nab import ALERT, default_spec  # noqa: E402

from anomaly.detect.bank import Bank  # noqa: E402
from anomaly.detect.episodes import OPENED, Episodes, Events  # noqa: E402
from anomaly.detect.walk import walk  # noqa: E402

T0 = 1_767_604_200_000  # Monday 2026-01-05, 09:10 UTC, ms
STEP_MS, AN_HOUR, WARM, LASTS = 10_000, 360, 30, 30  # points
SIZE = 10.0  # spreads
RECALL, FALSE = 0.9, 1.0  # what is to be reached

Floats = NDArray[np.float64]


class Kind(NamedTuple):
    """How series are made: an hour of so many, shape (series, points), and the spread of one."""

    make: Callable[[np.random.Generator, int], Floats]
    spread: float
    down: bool


def season(points: int) -> Floats:
    """Of the day: one of 30 %, as an hour of the morning shows it."""
    when = (T0 / 1000 + np.arange(points) * STEP_MS / 1000) % 86_400 / 86_400
    return 1.0 + 0.3 * np.sin(2 * np.pi * (when - 0.25))


def autoregressive(rng: np.random.Generator, series: int) -> Floats:
    """AR(1) with a coefficient of 0.9, in its stationary state, around 100."""
    out = rng.normal(size=(series, AN_HOUR))
    for i in range(1, AN_HOUR):
        out[:, i] = 0.9 * out[:, i - 1] + np.sqrt(1 - 0.81) * out[:, i]
    return np.asarray(100.0 + out)


def counter(rng: np.random.Generator, series: int) -> Floats:
    """The rate of a counter of 20 events a second with a daily season, over ten seconds."""
    return np.asarray(rng.poisson(200.0 * season(AN_HOUR), (series, AN_HOUR)) / 10.0)


def lognormal_spread(sigma: float) -> float:
    """Of exp(sigma z)."""
    return float(np.sqrt((np.exp(sigma**2) - 1.0) * np.exp(sigma**2)))


KINDS = {
    "gaussian": Kind(lambda rng, n: rng.normal(100.0, 1.0, (n, AN_HOUR)), 1.0, True),
    "ar1": Kind(autoregressive, 1.0, True),
    "lognormal 0.3": Kind(lambda rng, n: rng.lognormal(0.0, 0.3, (n, AN_HOUR)), lognormal_spread(0.3), False),
    "lognormal 0.8": Kind(lambda rng, n: rng.lognormal(0.0, 0.8, (n, AN_HOUR)), lognormal_spread(0.8), False),
    "poisson 0.5": Kind(lambda rng, n: rng.poisson(0.5, (n, AN_HOUR)).astype(float), 0.5**0.5, False),
    "poisson 5": Kind(lambda rng, n: rng.poisson(5.0, (n, AN_HOUR)).astype(float), 5.0**0.5, False),
    "counter": Kind(counter, float(np.sqrt(200.0)) / 10.0, True),
}  # fmt: skip


def judged(value: Floats) -> Events:
    """What is said of series that begin from nothing; shape (series, points)."""
    spec = default_spec()
    bank, episodes = Bank(), Episodes([spec])
    bank.ensure(value.shape[0])
    episodes.ensure(value.shape[0])
    row = np.repeat(np.arange(value.shape[0]), value.shape[1])
    time = np.tile(T0 + np.arange(value.shape[1]) * STEP_MS, value.shape[0])
    zeros = np.zeros(row.size, np.int64)
    return walk(bank, episodes, row, time, value.ravel(), np.full(row.size, spec.season), zeros, zeros)[1]


def false(value: Floats) -> tuple[float, float]:
    """Episodes of a hundred series in the hour, and of them those that reach the evidence of an alert."""
    said = judged(value)
    strong = np.unique(np.stack([said.row, said.started])[:, said.score >= ALERT], axis=1).shape[1]
    per = 100.0 / value.shape[0]
    return per * int((said.event == OPENED).sum()), per * strong


def recalled(value: Floats, spread: float, side: float) -> tuple[float, float]:
    """Share of the series in which an episode opens in the fault; the median seconds from its beginning."""
    ill = value[:, : WARM + LASTS].copy()
    ill[:, WARM:] += side * SIZE * spread
    said = judged(ill)
    at = said.index % ill.shape[1] - WARM
    opened = (said.event == OPENED) & (at >= 0)
    first = np.full(value.shape[0], np.inf)
    np.minimum.at(first, said.row[opened], at[opened] * STEP_MS / 1000)
    hit = first[np.isfinite(first)]
    return hit.size / first.size, float(np.median(hit)) if hit.size else float("nan")


def measured(kind: Kind, series: int, seed: int) -> dict[str, Any]:
    """One row of the report."""
    value = kind.make(np.random.default_rng(seed), series)
    opened, strong = false(value)
    sides = {"up": 1.0, **({"down": -1.0} if kind.down else {})}
    row: dict[str, Any] = {"false_per_hour_of_100": round(opened, 2), "alerting_per_hour_of_100": round(strong, 2)}
    for side, sign in sides.items():
        share, delay = recalled(value, kind.spread, sign)
        row |= {f"recall_{side}": round(share, 3), f"delay_{side}_s": None if delay != delay else delay}
    worst = min(row[f"recall_{side}"] for side in sides)
    return row | {"reached": bool(worst >= RECALL and opened <= FALSE)}


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--series", type=int, default=1_000, help="of each kind")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--quick", action="store_true", help="100 series of each kind")
    parser.add_argument("--json", action="store_true", help="last line: one JSON object")
    options = parser.parse_args()
    print(f"{'kind':16}{'recall up':>10}{'after s':>9}{'down':>7}{'after s':>9}{'false':>8}{'alerting':>10}  reached")
    report = {}
    for name, kind in KINDS.items():
        row = report[name] = measured(kind, 100 if options.quick else options.series, options.seed)
        cells = [row.get(k) for k in ("recall_up", "delay_up_s", "recall_down", "delay_down_s")]
        told = "".join("-".rjust(n) if c is None else f"{c:{n}g}" for c, n in zip(cells, (10, 9, 7, 9), strict=True))
        rest = f"{row['false_per_hour_of_100']:8}{row['alerting_per_hour_of_100']:10}  {'yes' if row['reached'] else 'no'}"
        print(f"{name:16}{told}{rest}", flush=True)
    if options.json:
        print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
