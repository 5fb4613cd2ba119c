"""New series and steady state of one detector partition: how many a second, and in how many bytes.

(register) plain gauges of groups of a thousand with labels of about a hundred bytes, announced 10,000 a block, then each
heard once; bytes per series by part, as used and as allocated. (detect) points a second through `Detector.detect` at 10^3 to
10^6 series, rows in random order, ten-second steps, the default spec. (keep) seconds to gather everything and what was
touched, to put and settle it, and bytes. CPU seconds of this process, the best of a few; prints a table and one JSON line.
"""

import argparse
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src")]

import numpy as np  # noqa: E402

from anomaly.config.models import Match, ModelSpec  # noqa: E402
from anomaly.config.settings import Settings  # noqa: E402
from anomaly.decode.block import Announced, Block  # noqa: E402
from anomaly.decode.identity import Identity, pack  # noqa: E402
from anomaly.decode.points import Kind, Points  # noqa: E402
from anomaly.detect.detector import Detector  # noqa: E402
from anomaly.state import Snapshot  # noqa: E402

T0, STEP, AT_ONCE, BATCH = 1_767_225_600_000, 10_000, 10_000, 100_000
MARKS = 5  # bytes a row: touched, written
DEFAULT = ModelSpec(name="default", match=(Match(),), min_duration=30.0)


def announced(n: int, copies: int = 1) -> Announced:
    """Gauges, `copies` instances of each."""
    identity, hashes, texts = Identity(Settings().identity), np.empty(n, np.uint64), []
    for i in range(n):
        k, copy = divmod(i, copies)
        labels = {
            "deployment.environment.name": "prod", "service.name": f"service-{k // 1000:04d}",
            "queue": f"queue-{k % 1000:04d}", "region": "eu-central-1", "tier": "standard",
            "service.instance.id": f"{i:08x}-{copy}",
        }  # fmt: skip
        one = identity.series("queue.depth", "{message}", labels, Kind.GAUGE)
        hashes[i] = one.hash
        texts.append(pack(one))
    return Announced(hashes, texts)


def block(points: Points, heard: int, new: Announced | None = None) -> Block:
    """A block without offsets."""
    return Block("metrics", 0, 0, 0, heard, 10_000, points, new or Announced())


def points_of(series: np.ndarray, step: int, rng: np.random.Generator) -> Points:
    """A point each."""
    points = Points.empty(series.size)
    points.series, points.time = series, np.full(series.size, T0 + STEP * step)
    points.value = rng.normal(50.0, 2.0, series.size)
    return points


def cpu(work: Any) -> float:
    """CPU seconds that something takes."""
    began = time.process_time()
    work()
    return time.process_time() - began


def register(new: Announced) -> tuple[Detector, float]:
    """A detector that knows them, and the CPU seconds that registering took."""
    detector, spent = Detector(0, (DEFAULT,), Settings()), 0.0
    for at in range(0, len(new), AT_ONCE):
        part = Announced(new.hash[at : at + AT_ONCE], new.text[at : at + AT_ONCE])
        empty = block(Points.empty(), T0, part)
        spent += cpu(lambda empty=empty: detector.detect(empty))
    return detector, spent


def parts(detector: Detector) -> dict[str, float]:
    """Bytes per series in use, by part."""
    n, found = detector.series, {}
    for name, table in detector._keep.tables.items():
        found[name] = table.used * (sum(c[:1].nbytes for c in table.columns().values()) + MARKS) / n
        for pool in table.pools:
            found[f"{name}.{pool.name}"] = float(pool.count[0]) * pool.array.itemsize / n
    for name, index in detector.register.index._asdict().items():
        found[f"index.{name}"] = index.slots.nbytes / n
    return {name: round(size, 1) for name, size in found.items() if size >= 0.05}


def steady(detector: Detector, series: np.ndarray, rounds: int) -> float:
    """Points per CPU second of the best round, every series once a round, in random order."""
    rng, best = np.random.default_rng(1), np.inf
    for step in range(1, rounds + 1):
        order = rng.permutation(series)
        blocks = [block(points_of(order[a : a + BATCH], step, rng), T0 + STEP * step) for a in range(0, order.size, BATCH)]
        spent = sum(cpu(lambda b=b: detector.detect(b)) for b in blocks)
        best = min(best, spent / series.size) if step > 2 else best
    return 1.0 / best


def checkpoint(detector: Detector, generation: int) -> tuple[Snapshot, float, float]:
    """A checkpoint, the seconds of its pause, and of its longest slice."""
    slices, parts, longest = detector.ahead(generation), [], 0.0
    while True:
        began = time.perf_counter()
        part = next(slices, None)
        longest = max(longest, time.perf_counter() - began)
        if part is None:
            break
        parts.append(part)
    began = time.perf_counter()
    last = detector.gather(generation)
    pause = time.perf_counter() - began
    return last._replace(parts=[*parts, *last.parts]), pause, longest


def keep(detector: Detector) -> dict[str, float]:
    """A checkpoint of everything, one of a tenth, and the way back."""
    layouts, began = detector.layouts(), time.perf_counter()
    whole, _, slice_ = checkpoint(detector, 1)
    full = time.perf_counter() - began
    rng = np.random.default_rng(2)
    some = rng.permutation(detector.register.tables.rows["row"]["key"][: detector.series])[: detector.series // 10]
    detector.detect(block(points_of(some, 100, rng), T0 + STEP * 100))
    began = time.perf_counter()
    share, pause, _ = checkpoint(detector, 2)
    tenth = time.perf_counter() - began
    other, began = Detector(0, (DEFAULT,), Settings()), time.perf_counter()
    for g, snapshot in enumerate((whole, share), 1):
        other.put(g, snapshot.parts, layouts)
    other.settle(share.rest)
    back = time.perf_counter() - began
    assert other.digest() == detector.digest()
    size = sum(len(p.data) for p in whole.parts)
    return {
        "gather_all_s": full, "gather_tenth_s": tenth, "restore_s": back, "bytes_per_series": size / detector.series,
        "tenth_bytes": sum(len(p.data) for p in share.parts), "longest_slice_s": slice_, "pause_s": pause,
    }  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=1_000_000)
    parser.add_argument("--copies", type=int, default=1, help="instances of each gauge: more than one makes sums")
    args = parser.parse_args()
    register(announced(1000))  # compiles
    new = announced(args.series, args.copies)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    detector, spent = register(new)
    rows, size = parts(detector), sum(map(len, new.text)) / len(new)
    found: dict[str, Any] = {"series": args.series, "registered_per_s": round(args.series / spent), "parts": rows}
    found["state_bytes_per_series"] = round(sum(rows.values()), 1)
    found["beside_models_bytes_per_series"] = round(sum(s for p, s in rows.items() if p != "models"), 1)
    found["text_bytes"] = round(size, 1)
    found["points_per_s"] = {}
    for n in [n for n in (1_000, 10_000, 100_000, 1_000_000) if n <= args.series]:
        small = detector if n == args.series else register(Announced(new.hash[:n], new.text[:n]))[0]
        found["points_per_s"][n] = round(steady(small, new.hash[:n], 40 if n < 100_000 else 6))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    found["rss_growth_per_series"] = round((after - before) / args.series)
    found |= {name: round(value, 4) for name, value in keep(detector).items()}
    for name, value in found.items():
        print(f"{name:32} {value}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
