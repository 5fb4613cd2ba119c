"""The judging kernel by itself: the default model, its episode and the last values, as `Judge` runs them on a batch.

Every series has a point each ten seconds, a level with Gaussian noise of 5 %, in batches of 65,536; after a warm-up each
round is a point of every series, in the order of the rows or in a random one, the latter also without asking memory ahead,
and where every point is the first of its half-hour. Where series are few, a batch holds several points of each, one after
the other, LEAST_BATCH at least: a call for a single point would be all that is measured.
Beside it, in the same rounds, a plain exponential average (mean and variance, 16 bytes a row, asked ahead) as a light one.
Nanoseconds per point, the least of the rounds, of CPU time; then the bytes that a row takes, by part.

    python benchmarks/bank.py [--series 1 1000 10000 100000 1000000] [--json]
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomaly.compiled import bare, fetch
from anomaly.config.models import Match, ModelSpec
from anomaly.detect.judge import AHEAD, Batch, Judge

BEGIN, EVERY = 1_767_225_600_000, 10_000  # ms
BATCH, LEAST_BATCH = 65_536, 4_096
WARM, ROUNDS, LEAST_POINTS = 40, 7, 2_000_000  # rounds of warm-up; measured; points to measure at least
HALF_HOUR = 1_800_000  # ms: then a point also leaves one bucket of its season and enters another
KINDS = ("in order", "random", "random, not ahead", "new half-hour", "light")


@bare
def average(row, value, state):  # type: ignore[no-untyped-def]
    """The light comparison: an exponential mean and variance."""
    far = 0.0
    for i in range(row.size):
        if i + AHEAD < row.size:
            fetch(state, row[i + AHEAD], 0)
        s = state[row[i]]
        gap = value[i] - s.mean
        far = max(far, gap * gap / (s.variance + 1e-9))
        s.mean += 0.05 * gap
        s.variance = 0.95 * (s.variance + 0.05 * gap * gap)
    return far


class Rows:
    """So many series, and the points that they send."""

    def __init__(self, series: int) -> None:
        self.series, self.now, self.rng = series, BEGIN, np.random.default_rng(1)
        self.judge = Judge([ModelSpec(name="default", match=(Match(),), min_duration=30.0)])
        for _ in range(series):
            self.judge.add(0, False)
        self.light = np.zeros(series, np.dtype([("mean", "f8"), ("variance", "f8")]))
        self.level = self.rng.uniform(10.0, 1000.0, series)
        self.each = max(1, LEAST_BATCH // series)  # points of a series in a round
        self.order = np.arange(series, dtype=np.int32)

    def batches(self, shuffled: bool, later: int = EVERY) -> list[Batch]:
        """The next points of every series."""
        row = np.concatenate([self.rng.permutation(self.order) if shuffled else self.order for _ in range(self.each)])
        time_ = np.repeat(self.now + later * np.arange(1, self.each + 1), self.series)
        self.now += later * self.each
        value = self.level[row] * (1.0 + 0.05 * self.rng.standard_normal(row.size))
        cuts = [slice(a, a + BATCH) for a in range(0, row.size, BATCH)]
        none = np.zeros(row.size)
        return [Batch(at := np.arange(row[c].size), row[c], time_[c], value[c], none[c], at) for c in cuts]

    def judged(self, batches: list[Batch], ahead: int) -> None:
        """By the full model."""
        self.judge.ahead = ahead
        for batch in batches:
            self.judge.judge(batch)

    def averaged(self, batches: list[Batch]) -> None:
        """By the light one."""
        for batch in batches:
            average(batch.row, batch.value, self.light)

    def measured(self) -> dict[str, float]:
        """Nanoseconds per point by kind."""
        for _ in range(WARM):
            self.judged(self.batches(False), AHEAD)
        runs: dict[str, Callable[[], float]] = {
            "in order": lambda: self._timed(self.batches(False), lambda b: self.judged(b, AHEAD)),
            "random": lambda: self._timed(self.batches(True), lambda b: self.judged(b, AHEAD)),
            "random, not ahead": lambda: self._timed(self.batches(True), lambda b: self.judged(b, 0)),
            "new half-hour": lambda: self._timed(self.batches(True, HALF_HOUR), lambda b: self.judged(b, AHEAD)),
            "light": lambda: self._timed(self.batches(True), self.averaged),
        }
        rounds = max(ROUNDS, LEAST_POINTS // (self.series * self.each))
        best = {kind: min(run() for _ in range(2)) for kind, run in runs.items()}  # compiles
        for _ in range(rounds):
            best = {kind: min(best[kind], run()) for kind, run in runs.items()}
        return best

    def _timed(self, batches: list[Batch], work: Callable[[list[Batch]], None]) -> float:
        begun = time.process_time_ns()
        work(batches)
        return (time.process_time_ns() - begun) / (self.series * self.each)


def bytes_a_row() -> dict[str, int]:
    """What each array takes for a row."""
    judge = Judge([ModelSpec(name="default", match=(Match(),))])
    judge.add(0, False)
    arrays: dict[str, NDArray[Any]] = {
        "model": judge.bank.state,
        "episode": judge.episodes.table,
        "judged": judge.table,
        "last values": judge.recent.rings,
        "touched": judge.touched,
    }
    return {name: array.itemsize for name, array in arrays.items()}


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--series", type=int, nargs="+", default=[1, 1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--json", action="store_true", help="last line: one JSON object")
    options = parser.parse_args()
    print(f"{'ns per point':>12}" + "".join(f"{kind:>18}" for kind in KINDS) + f"{'full / light':>14}{'points/s':>14}")
    found = {}
    for series in options.series:
        ns = found[series] = Rows(series).measured()
        line = "".join(f"{ns[kind]:18.1f}" for kind in KINDS)
        print(f"{series:12,}{line}{ns['random'] / ns['light']:14.1f}{1e9 / ns['random']:14,.0f}", flush=True)
    size = bytes_a_row()
    print("bytes a row: " + ", ".join(f"{name} {n}" for name, n in size.items()) + f"; together {sum(size.values())}")
    if options.json:
        most = max(found)
        report: dict[str, Any] = {"series": most, "points_per_s": round(1e9 / found[most]["random"])}
        report |= {"ns_per_point": found, "bytes_a_row": size, "state_bytes_per_series": sum(size.values())}
        print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
