"""Regressions that are hardly visible, put into real series: how many are found, how soon, at what price.

Fault-free stretches of NAB of at least LEAST_DAYS days (at most MOST points of each); in each, at a seeded moment of its
middle, one of ten changes that lasts to the stretch's end, at most LASTS_DAYS days. A spread is the scaled median deviation
of a stretch from its daily profile (the standard deviation where that is 0). A leak grows in a straight line; `period`
puts values of other times of day in the place of the series' own, on series whose day explains a quarter of their variance.

Each detector (`peer/detectors.py`) has, for each rate of false alarms, the one threshold that raises no more on the
stretches as they were. A regression is found if an alarm begins in it; `by_chance` is the same span without it.
A detector that is silent on most points (ours: between records) has few thresholds, so `false_per_week` says what came.

    python benchmarks/regressions.py --data NAB [--quick] [--json]
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from benchmarks.alarms import alarms, lowest  # noqa: E402
from benchmarks.fleets import DAY_MS, DAY_S, T0, Stretch, stretches  # noqa: E402
from benchmarks.nab import files  # noqa: E402
from benchmarks.peer.detectors import DETECTORS, detectors  # noqa: E402

ABSENT = 3  # exit status: the data is not there
LEAST_DAYS, LASTS_DAYS, MOST = 6, 4, 4_000
PROBATION_DAYS = 1
SEASONAL = 0.25  # of the variance explained by the time of day
RATES = (0.25, 0.5, 1.0, 2.0, 4.0)  # false alarms a week of a series
SHOWN = 1.0
WEEK_MS = 7 * DAY_MS

Floats = NDArray[np.float64]
Change = Callable[[Floats, Floats, float, np.random.Generator], Floats]


class Real(NamedTuple):
    """A stretch as a series: times in ms, values, its daily profile at each point, its spread, if the day explains it."""

    key: str
    time: NDArray[np.int64]
    value: Floats
    profile: Floats
    spread: float
    seasonal: bool


class Case(NamedTuple):
    """A series with a regression in [begin, end) ms, of which stretch and kind."""

    kind: str
    of: int
    time: NDArray[np.int64]
    value: Floats
    begin: int
    end: int


def level(spreads: float) -> Change:
    """Another level from one moment on."""
    return lambda value, profile, spread, rng: value + spreads * spread


def leak(spreads: float) -> Change:
    """So many spreads at the end, in a straight line."""
    return lambda value, profile, spread, rng: value + spreads * spread * np.linspace(0.0, 1.0, value.size)


def wider(times: float) -> Change:
    """So many times as far from the profile."""
    return lambda value, profile, spread, rng: profile + times * (value - profile)


def shuffled(value: Floats, profile: Floats, spread: float, rng: np.random.Generator) -> Floats:
    """The same values at other times."""
    return rng.permutation(value)


KINDS: dict[str, Change] = {
    "leak 1": leak(1.0), "leak 2": leak(2.0), "leak 4": leak(4.0),
    "level 0.5": level(0.5), "level 1": level(1.0), "level 2": level(2.0),
    "variance 1.5": wider(1.5), "variance 2": wider(2.0), "variance 3": wider(3.0),
    "period": shuffled,
}  # fmt: skip


def real(stretch: Stretch) -> Real:
    """Its first MOST points."""
    value = stretch.value[:MOST]
    per_day = max(DAY_S // stretch.step, 1)
    bucket = np.arange(value.size) % per_day * min(per_day, 48) // per_day  # half-hours
    profile = np.array([np.median(value[bucket == b]) for b in range(bucket.max() + 1)])[bucket]
    rest = value - profile
    spread = float(1.4826 * np.median(np.abs(rest - np.median(rest)))) or float(rest.std())
    explained = 1.0 - rest.var() / max(float(value.var()), 1e-300)
    time = T0 + np.arange(value.size, dtype=np.int64) * stretch.step * 1000
    return Real(stretch.key, time, value, profile, spread, bool(explained >= SEASONAL))


def injected(one: Real, of: int, kind: str, seed: int) -> Case:
    """The regression begins between 40 and 60 % of the stretch, for all kinds at the same moment."""
    rng = np.random.default_rng((seed, of))
    begin = one.time[int(rng.uniform(0.4, 0.6) * one.time.size)]
    end = min(int(begin) + LASTS_DAYS * DAY_MS, int(one.time[-1]) + 1)
    a, b = np.searchsorted(one.time, [begin, end])
    value = one.value.copy()
    value[a:b] = KINDS[kind](value[a:b], one.profile[a:b], one.spread, rng)
    return Case(kind, of, one.time[:b], value[:b], int(begin), end)


def begin_of(time: NDArray[np.int64]) -> int:
    """The first point that may raise an alarm."""
    return int(np.searchsorted(time, time[0] + PROBATION_DAYS * DAY_MS))


def weeks(series: Sequence[Real]) -> float:
    """In which alarms may be raised."""
    return sum(int(one.time[-1]) - int(one.time[0]) - PROBATION_DAYS * DAY_MS for one in series) / WEEK_MS


def first_alarm(case: Case, score: Floats, threshold: float) -> float:
    """Seconds from the beginning of the regression to the first alarm that begins in it; NaN: none."""
    begun = alarms(case.time, score[: case.time.size], threshold, begin_of(case.time))
    begun = begun[(begun >= case.begin) & (begun < case.end)]
    return float(begun[0] - case.begin) / 1000 if begun.size else np.nan


def curve(
    series: Sequence[Real], plain: Sequence[Floats], cases: Sequence[Case], scores: Sequence[Floats]
) -> dict[str, Any]:
    """Per kind and rate of false alarms: recall, median delay, and what chance finds."""

    def false(threshold: float) -> int:
        raised = (alarms(r.time, s, threshold, begin_of(r.time)).size for r, s in zip(series, plain, strict=True))
        return sum(raised)

    found: dict[str, Any] = {}
    for rate in RATES:
        threshold = lowest(false, plain, rate * weeks(series))
        for kind in KINDS:
            mine = [(case, score) for case, score in zip(cases, scores, strict=True) if case.kind == kind]
            delay = np.array([first_alarm(case, score, threshold) for case, score in mine])
            chance = [first_alarm(case, plain[case.of], threshold) for case, _ in mine]
            hit = delay[~np.isnan(delay)]
            found.setdefault(kind, []).append({
                "recall": round(hit.size / max(delay.size, 1), 3),
                "median_delay_s": float(np.median(hit)) if hit.size else None,
                "false_per_week": round(false(threshold) / weeks(series), 3), "asked": rate,
                "by_chance": round(float(np.mean(~np.isnan(chance))), 3), "cases": delay.size,
            })  # fmt: skip
    return found


def show(name: str, curves: dict[str, Any]) -> None:
    """A line a kind: recall by rate, and the delay at the rate that is shown."""
    for kind, points in curves.items():
        at = next(p for p in points if p["asked"] == SHOWN)
        delay = "-" if at["median_delay_s"] is None else f"{at['median_delay_s'] / 3600:.1f}"
        recalls = "".join(f"{100 * p['recall']:5.0f} ({100 * p['by_chance']:.0f})".rjust(12) for p in points)
        print(f"{name:19}{kind:14}{at['cases']:5}{recalls}{delay:>9}", flush=True)
    falls = "".join(f"{p['false_per_week']:12.2f}" for p in next(iter(curves.values())))
    print(f"{name:19}{'false a week':19}{falls}", flush=True)


def main() -> int:
    """Run, print, and say by the exit status whether there was anything to run on."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with NAB's data/ and labels/")
    parser.add_argument("--detectors", nargs="+", choices=list(DETECTORS), default=list(DETECTORS))
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="every fifth stretch")
    parser.add_argument("--json", action="store_true", help="last line: one JSON object")
    options = parser.parse_args()
    if not (options.data / "labels" / "combined_windows.json").is_file():
        print(
            f"regressions: no labels/combined_windows.json in {options.data}: give NAB's folder by --data", file=sys.stderr
        )
        return ABSENT
    long = [s for s in stretches(list(files(options.data))) if s.value.size * s.step >= LEAST_DAYS * DAY_S]
    series = [one for one in map(real, long[:: 5 if options.quick else 1]) if one.spread > 0]
    wanted = ((i, kind) for i, one in enumerate(series) for kind in KINDS if kind != "period" or one.seasonal)
    cases = [injected(series[i], i, kind, options.seed) for i, kind in wanted]
    print(f"{len(series)} stretches, {weeks(series):.0f} weeks, {len(cases)} regressions; recall in % (by chance)")
    print(f"{'':19}{'false a week asked':19}" + "".join(f"{rate:12g}" for rate in RATES) + "  delay, h")
    report: dict[str, Any] = {}
    for name in options.detectors:
        for found in detectors([name], [*series, *cases]).values():
            curves = curve(series, found.scores[: len(series)], cases, found.scores[len(series) :])
            show(name, curves)
            report[name] = {k: {**next(p for p in c if p["asked"] == SHOWN), "curve": c} for k, c in curves.items()}
    if options.json:
        print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
