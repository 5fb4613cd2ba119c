"""Steps and durations of traces in detect: what a point costs, side by side with none, and what healthy hours say.

Cost: points of STEPS with two exemplars each and of durations into `Detector.detect`, ten thousands a cell; what judging and
learning a cell takes; and points of gauges of another source, with and without the rows of traces beside them. Minimum of
all cells, CPU time.
Healthy: contexts of one to six branches with shares drawn from a Dirichlet distribution, traffic of each log-normal about
`--traffic` traces a cell, and log-normal durations; nothing ever changes. Counted are episodes after the first 25 minutes,
and all.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from anomaly.config.load import load_specs  # noqa: E402
from anomaly.config.settings import Limits, Settings  # noqa: E402
from anomaly.decode.block import Announced, Block  # noqa: E402
from anomaly.decode.identity import Identity, Series  # noqa: E402
from anomaly.decode.points import Flag, Kind, Points  # noqa: E402
from anomaly.decode.spans_series import BOUNDS, BUCKETS  # noqa: E402
from anomaly.decode.steps_series import CELL, NEXT, OPERATION, SELF, STEP, STEPS, WORDS  # noqa: E402
from anomaly.detect.anomaly import Anomaly, Event  # noqa: E402
from anomaly.detect.detector import Detector  # noqa: E402

FIRST = 170_000_000  # number of the first cell
SETTLED = 150  # cells after which it is no more the beginning
IDENTITY = Identity(Settings().identity)


def step(c: int, following: str = "") -> Series:
    """A step of context c, or the context."""
    labels = {"service.name": f"s{c % 50}", OPERATION: f"op{c % 200}", STEP: f"e{c}"}
    return IDENTITY.series(STEPS, "1", labels | ({NEXT: following} if following else {}), Kind.DELTA)


def duration(c: int) -> Series:
    """Own time of operation c."""
    labels = {"service.name": f"s{c % 50}", OPERATION: f"op{c}"}
    return IDENTITY.series(SELF, "s", labels, Kind.HISTOGRAM_DELTA, BOUNDS)


def points(series: NDArray[np.uint64], value: Any, cell: int, kind: Kind, words: int = 0, counts: Any = None) -> Points:
    """Points of a cell: values, or counts by bucket; with so many words of exemplars."""
    own = 0 if counts is None else BUCKETS
    n, wide = series.size, own + words
    made = Points.empty(n, n * wide)
    made.series, made.value[:], made.kind[:], made.flags[:] = series, value, kind, Flag.PART if kind else 0
    made.start[:], made.time[:] = (FIRST + cell) * CELL, (FIRST + cell + 1) * CELL
    made.bucket_len[:], made.bucket_at[:] = wide, np.arange(n) * wide
    if own:
        made.buckets.reshape(n, wide)[:, :own] = counts
    made.buckets.view(np.uint64).reshape(n, wide)[:, own:] = 7
    return made


def block(source: str, cell: int, some: Points, series: Sequence[Series] = (), wait: int = 2) -> Block:
    """As it comes from a source that was heard so many cells past this one."""
    return Block(source, 0, 0, 0, (FIRST + cell + 1 + wait) * CELL, 0, some, Announced.of(series))


def timed(detector: Detector, some: Block) -> float:
    """CPU seconds."""
    began = time.process_time()
    detector.detect(some)
    return time.process_time() - began


def cost(contexts: int, per_cell: int, cells: int = 30) -> dict[str, Any]:
    """What a point, a cell, and a point of something else cost."""
    rng, specs = np.random.default_rng(1), load_specs()
    beside = Detector(0, specs, Settings(limits=Limits(steps=20 * contexts)))
    alone = Detector(0, specs, Settings())
    steps = [s for c in range(contexts) for s in (step(c), step(c, f"f{c}"))]
    slow = [duration(c) for c in range(max(contexts // 10, 1))]
    gauges = [IDENTITY.series("m", "", {"service.name": f"s{c}"}, Kind.GAUGE) for c in range(1_000)]
    beside.detect(block("spans", -1, Points.empty(), [*steps, *slow], -2))
    for detector in (beside, alone):
        detector.detect(block("metrics", -1, Points.empty(), gauges))
    hashes = [np.array([s.hash for s in of], np.uint64) for of in (steps, slow, gauges)]
    found: dict[str, list[float]] = {name: [] for name in ("take", "durations", "judge", "gauges", "gauges_beside")}
    for cell in range(cells):
        some, lasting, others = (rng.choice(h, n) for h, n in zip(hashes, (per_cell, per_cell // 10, per_cell), strict=True))
        counts = np.eye(1, BUCKETS, 9)
        for name, made in (
            ("take", points(some, 1.0, cell, Kind.DELTA, 2 * WORDS)),
            ("durations", points(lasting, 1.0, cell, Kind.HISTOGRAM_DELTA, 2 * WORDS, counts)),
        ):
            found[name].append(timed(beside, block("spans", cell, made, (), -2)) / len(made) * 1e9)
        found["judge"].append(timed(beside, block("spans", cell, Points.empty())) * 1e3)
        for name, detector in (("gauges", alone), ("gauges_beside", beside)):
            made = points(others, 1.0, cell, Kind.GAUGE)
            found[name].append(timed(detector, block("metrics", cell, made)) / len(made) * 1e9)
    units = {"judge": "judge_ms_per_cell"}
    return {"rows": len(steps) + len(slow)} | {units.get(k, f"{k}_ns"): round(min(v[15:]), 1) for k, v in found.items()}


def healthy(contexts: int, hours: float, traffic: float, seed: int) -> dict[str, Any]:
    """Episodes of hours in which nothing happens."""
    rng, detector = np.random.default_rng(seed), Detector(0, load_specs(), Settings())
    ways = [int(rng.choice([1, 2, 3, 6], p=[0.6, 0.2, 0.1, 0.1])) for _ in range(contexts)]
    shares = [rng.dirichlet([0.3] * m) for m in ways]
    steps = [[step(c), *(step(c, f"f{c}.{j}") for j in range(m))] for c, m in enumerate(ways)]
    hashes = [np.array([s.hash for s in of], np.uint64) for of in steps]
    slow = [duration(c) for c in range(contexts // 4)]
    lasting, spread = np.log(0.03) + rng.normal(0.0, 1.0, len(slow)), rng.uniform(0.2, 1.0, len(slow))
    rates = traffic * rng.lognormal(0.0, 1.0, contexts)
    detector.detect(block("spans", -1, Points.empty(), [*(s for of in steps for s in of), *slow], -2))
    said: list[tuple[int, Anomaly]] = []
    for cell in range(SETTLED + int(hours * 360)):
        many = rng.poisson(rates)
        counts = [np.array([n, *rng.multinomial(n, p)], np.float64) for n, p in zip(many, shares, strict=True)]
        some, traces = np.concatenate(hashes), np.concatenate(counts)
        own = [
            np.bincount(np.searchsorted(BOUNDS, rng.lognormal(m, s, n)), minlength=BUCKETS)
            for n, m, s in zip(many, lasting, spread, strict=False)
        ]
        timing = points(np.array([s.hash for s in slow], np.uint64), 1.0, cell, Kind.HISTOGRAM_DELTA, 0, np.array(own))
        both = [points(some[traces > 0], traces[traces > 0], cell, Kind.DELTA), timing]
        found = detector.detect(block("spans", cell, Points.joined(both)))
        said += [(cell, a) for a in found if isinstance(a, Anomaly) and a.event is Event.OPEN]
    late = sum(cell >= SETTLED for cell, _ in said)
    greatest = max((a.score for _, a in said), default=0.0)
    return {"contexts": contexts, "traffic": traffic, "hours": hours, "episodes": len(said),
            "false_per_hour": round(late / hours, 2), "greatest_score": round(greatest, 1)}  # fmt: skip


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--contexts", type=int, default=1_000)
    parser.add_argument("--points", type=int, default=20_000, help="a cell (default 20000)")
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--traffic", type=float, default=10.0, help="traces of a context a cell (default 10)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="last line: JSON")
    options = parser.parse_args()
    result = cost(options.contexts, options.points) | healthy(options.contexts, options.hours, options.traffic, options.seed)
    print(*(f"{key} {value}" for key, value in result.items()), sep="\n")
    if options.json:
        print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
