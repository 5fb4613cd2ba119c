"""Is the alert budget kept, and what does it find? Fleets of which every series may page, by the shipped engine.

Each fleet (`fleets.py`) is judged by the default model at the shipped threshold, correlated, and decided for each budget,
with and without the feedback. Counted are incidents that paged on statistics, by weeks from the fleet's beginning; several
fleets of a kind, by their seeds, are pooled. `found` are labelled windows in which the ill series paged, `by_chance` the
same windows a week earlier, where the series is mostly made of its fault-free stretches.

    python benchmarks/budget.py --data NAB --weeks 300 --json
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from benchmarks.fleets import DAY_MS, T0, Fleet, judged, makers  # noqa: E402
from benchmarks.nab import files  # noqa: E402

from anomaly.config.settings import Settings  # noqa: E402
from anomaly.correlate.correlator import Correlator  # noqa: E402
from anomaly.correlate.incident import Incident, Told  # noqa: E402
from anomaly.dispatch.budget import HELD, PAGED, STEP, UNDER  # noqa: E402
from anomaly.dispatch.budgets import Budgets  # noqa: E402
from anomaly.dispatch.decide import Dispatcher  # noqa: E402

ABSENT = 3  # exit status: the data is not there
BUDGETS = (1.0, 10.0, 100.0)
WEEK_MS, EARLIER = 7 * DAY_MS, 7 * DAY_MS
CALM = ("nab", "calm", "trends", "growth")  # without shocks, bursts or changes of regime


class Counted:
    """Pages of one budget over the fleets of a kind: (fleet's number, group, ms), and incidents by what they were."""

    def __init__(self) -> None:
        self.pages: list[tuple[int, str, int]] = []
        self.were: Counter[str] = Counter()


def correlated(fleet: Fleet) -> list[Incident]:
    """Each change of each incident, which does not depend on the budget."""
    settings = Settings()
    return Correlator(settings.correlation, Dispatcher(settings).matters).update(fleet.events)


def decide(changes: Sequence[Incident], per_week: float, step: float, number: int, counted: Counted) -> None:
    """What would have paged."""
    dispatcher, budgets, tolds = Dispatcher(Settings()), Budgets({"default": per_week}, step), dict[str, Told]()
    for incident in changes:
        incident.told = tolds.setdefault(incident.dedup_key, Told())
        before = incident.told.budget
        dispatcher.decide(incident, budgets)
        if incident.told.budget == PAGED != before:
            counted.pages.append((number, incident.group, incident.time))
    counted.were.update(told.budget for told in tolds.values() if told.budget)


def by_week(counted: Counted, fleets: int, days: int) -> NDArray[np.int64]:
    """Pages by fleet and week, shape (fleets, weeks)."""
    weeks = np.zeros((fleets, days // 7), np.int64)
    for number, _, when in counted.pages:
        weeks[number, min((when - T0) // WEEK_MS, weeks.shape[1] - 1)] += 1
    return weeks


def any_seven_days(counted: Counted, fleets: int) -> int:
    """The most pages of any fleet within seven days."""
    most = 0
    for number in range(fleets):
        times = np.sort([when for n, _, when in counted.pages if n == number])
        if times.size:
            most = max(most, int((np.searchsorted(times, times + WEEK_MS) - np.arange(times.size)).max()))
    return most


def hits(counted: Counted, windows: Sequence[tuple[int, str, int, int]], earlier: int) -> int:
    """Windows, so much earlier, in which their series paged."""
    paged: dict[tuple[int, str], list[int]] = {}
    for number, group, when in counted.pages:
        paged.setdefault((number, group), []).append(when)
    return sum(
        any(first <= when + earlier <= last for when in paged.get((number, group), ()))
        for number, group, first, last in windows
    )


def measured(
    name: str, counted: Counted, per_week: float, feedback: bool, series: int, days: int, fleets: int,
    windows: Sequence[tuple[int, str, int, int]],
) -> dict[str, Any]:  # fmt: skip
    """One row of the report."""
    weeks = by_week(counted, fleets, days)
    later = weeks[:, 1:]
    fours = np.array([weeks[:, i : i + 4].mean(axis=1) for i in range(weeks.shape[1] - 3)])
    return {
        "fleet": name, "series": series, "days": days * fleets, "budget_per_week": per_week,
        "realised_per_week": round(float(weeks.mean()), 2), "labelled": len(windows), "found": hits(counted, windows, 0),
        "by_chance": hits(counted, windows, EARLIER), "feedback": feedback, "weeks": int(weeks.size),
        "any_7_days": any_seven_days(counted, fleets), "first_week": int(weeks[:, 0].max()),
        "weeks_over_1_5": round(float((later > 1.5 * per_week).mean()), 4), "four_weeks": round(float(fours.max()), 2),
        "median_week": float(np.median(later)), "held": counted.were[HELD], "under": counted.were[UNDER],
    }  # fmt: skip


def run(name: str, make: Any, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Every budget over as many fleets of a kind as it takes."""
    began = time.process_time()
    days = options.weeks_of_a_fleet * 7
    fleets = max(-(-options.weeks // options.weeks_of_a_fleet), 1)
    settings = [(b, on) for b in options.budgets for on in ((True, False) if options.both else (True,))]
    counts = {key: Counted() for key in settings}
    windows: list[tuple[int, str, int, int]] = []
    series = 0
    for number in range(fleets):
        fleet = judged(name, days, make(np.random.default_rng((options.seed, number))))
        series = fleet.series
        windows += [(number, *window) for window in fleet.windows]
        changes = correlated(fleet)
        for (per_week, feedback), counted in counts.items():
            decide(changes, per_week, STEP if feedback else 0.0, number, counted)
    rows = [measured(name, counts[key], *key, series, days, fleets, windows) for key in settings]
    for row in rows:
        show(row)
    print(f"{'':16}{time.process_time() - began:.0f} s of CPU", flush=True)
    return rows


ROW = "{:16}{:>7}{:>6}{:>8}{:>6}{:>9}{:>9}{:>7}{:>8}{:>7}{:>8}{:>7}{:>7}{:>9}{:>7}{:>10}"
HEAD = ("fleet", "series", "weeks", "budget", "feed", "a week", "7 days", "first", ">1.5 B", "4 wk", "median", "held",
        "under", "labelled", "found", "by chance")  # fmt: skip


def show(row: dict[str, Any]) -> None:
    """A line of the table."""
    print(ROW.format(
        row["fleet"], row["series"], row["weeks"], f"{row['budget_per_week']:g}", "yes" if row["feedback"] else "no",
        row["realised_per_week"], row["any_7_days"], row["first_week"], f"{100 * row['weeks_over_1_5']:.1f} %",
        row["four_weeks"], row["median_week"], row["held"], row["under"], row["labelled"], row["found"], row["by_chance"],
    ))  # fmt: skip


def main() -> int:
    """Run, print, and say by the exit status whether there was anything to run on."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with NAB's data/ and labels/")
    parser.add_argument("--weeks", type=int, default=60, help="pooled weeks of each kind of fleet (default 60)")
    parser.add_argument("--weeks-of-a-fleet", type=int, default=12)
    parser.add_argument("--series", type=int, default=200)
    parser.add_argument("--labelled", type=int, default=30, help="of the series of the fleet with faults")
    parser.add_argument("--budgets", type=float, nargs="+", default=BUDGETS)
    parser.add_argument("--fleets", nargs="+", metavar="NAME", help="only these kinds")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--one", dest="both", action="store_false", help="with the feedback only")
    parser.add_argument("--json", action="store_true", help="last line: a JSON list")
    options = parser.parse_args()
    if not (options.data / "labels" / "combined_windows.json").is_file():
        print(f"budget: no labels/combined_windows.json in {options.data}: give NAB's folder with --data", file=sys.stderr)
        return ABSENT
    made = makers(list(files(options.data)), options.series, options.weeks_of_a_fleet * 7, options.labelled)
    print(ROW.format(*HEAD))
    rows = [
        row
        for name, make in made.items()
        if not options.fleets or name in options.fleets
        for row in run(name, make, options)
    ]
    if options.json:
        print(json.dumps(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
