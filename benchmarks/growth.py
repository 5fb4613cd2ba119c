"""How detect does as series grow: points a second from a thousand series to as many as memory allows. No Kafka.

One partition's detector under all shipped models, fed with blocks as decode makes them: 20,000 gauge points, every series
once each ten seconds of data time, in an order of its own, announced at its first point and again every minute. Each size
is a process of its own. "registered" is the rate at which series are met for the first time; "points" the rate afterwards,
when all are known and warm; only `detect` is timed. Bytes a series: growth of the process's memory, series as decode holds
them included. A size that would need more than the memory allowed, judged by the size before, is not tried.
"""

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from anomaly.config.load import load_specs  # noqa: E402
from anomaly.config.settings import Settings  # noqa: E402
from anomaly.decode.block import Announced, Block  # noqa: E402
from anomaly.decode.identity import Identity  # noqa: E402
from anomaly.decode.points import Kind, Points  # noqa: E402
from anomaly.engine import Engine  # noqa: E402
from anomaly.host.compile import compile_kernels  # noqa: E402
from anomaly.host.plot import number  # noqa: E402

BEGIN, EVERY = 1_767_225_600_000, 10_000  # ms
BLOCK, PER_GROUP = 20_000, 100
WARM = 12  # points of each series before the clock runs: past those after which the model speaks
TIMED = 2_000_000  # points, at least, and one of each series
ANNOUNCED = 6  # rounds
SIZES = [1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000]
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 720, 320, 70, 40, 16


class Fleet:
    """Series that wander around a level of their own, and their points block by block, with the series to announce."""

    def __init__(self, identity: Identity, size: int) -> None:
        self.series: NDArray[np.object_] = np.empty(size, object)
        for i in range(size):
            attributes = {"service.name": f"service-{i // PER_GROUP:05d}", "queue": f"q-{i:07d}"}
            self.series[i] = identity.series("queue.depth", "1", attributes, Kind.GAUGE)
        self.hash = np.fromiter((s.hash for s in self.series), np.uint64, size)
        self.random = np.random.default_rng(4)
        self.round, self.offset = 0, 0

    def blocks(self, rounds: int) -> Iterator[Block]:
        """As many rounds of every series, small rounds together in a block."""
        together = max(BLOCK // self.hash.size, 1)
        for first in range(0, rounds, together):
            count = min(together, rounds - first)
            order = np.concatenate([self.random.permutation(self.hash.size) for _ in range(count)])
            number = np.repeat(np.arange(self.round, self.round + count), self.hash.size)
            self.round += count
            for at in range(0, order.size, BLOCK):
                yield self._block(order[at : at + BLOCK], number[at : at + BLOCK])

    def _block(self, who: NDArray[np.int64], number: NDArray[np.int64]) -> Block:
        points = Points.empty(who.size)
        points.series, points.time = self.hash[who], BEGIN + EVERY * number
        points.value = 50.0 + who % 997 + self.random.normal(size=who.size)
        due = who[number % ANNOUNCED == 0]
        new = Announced.of(self.series[due].tolist())  # outside of the clock, as decode does it
        self.offset += who.size
        heard = int(points.time.max())
        return Block("growth", 0, self.offset - who.size, self.offset, heard, 0, points, new)


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def timed(engine: Engine, blocks: Iterator[Block]) -> tuple[int, float, float]:
    """(points, wall seconds, CPU seconds) of judging the blocks; making them does not count."""
    points, wall, cpu = 0, 0.0, 0.0
    for block in blocks:
        before, used = time.perf_counter(), time.process_time()
        engine.detector(0).detect(block)
        wall, cpu = wall + time.perf_counter() - before, cpu + time.process_time() - used
        points += len(block.points)
    return points, wall, cpu


def one(size: int) -> dict[str, float]:
    """A size, in this process."""
    compile_kernels()
    settings = Settings()
    engine = Engine(settings, load_specs())
    identity = Identity(settings.identity)
    timed(Engine(settings, load_specs()), Fleet(identity, 1_000).blocks(2 * WARM))  # brings what all sizes need
    before = resident()
    fleet = Fleet(identity, size)
    _, register, _ = timed(engine, fleet.blocks(1))
    assert engine.detector(0).series == size
    timed(engine, fleet.blocks(WARM))
    points, wall, cpu = timed(engine, fleet.blocks(-(-TIMED // size)))
    return {
        "series": size, "points_per_s": points / wall, "points_per_cpu_s": points / cpu,
        "registered_per_s": size / register, "bytes_per_series": (resident() - before) / size,
        "peak_bytes_per_series": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before) / size,
    }  # fmt: skip


def part(size: int) -> dict[str, float]:
    """A size, in a process of its own."""
    command = [sys.executable, __file__, "--part", str(size)]
    found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=3600).stdout
    return dict(json.loads(found.splitlines()[-1]))


def measure(largest: int, memory: float) -> list[dict[str, float]]:
    """All sizes that fit; prints the table on the way."""
    row = "{:>12} {:>12} {:>16} {:>14} {:>13} {:>13}"
    print(row.format("series", "points/s", "points/s of CPU", "registered/s", "bytes/series", "at the peak"))
    found: list[dict[str, float]] = []
    for size in (s for s in SIZES if s <= largest):
        if found and found[-1]["peak_bytes_per_series"] * size > memory:
            print(f"{size:>12,} would need {found[-1]['bytes_per_series'] * size / 1e9:.1f} GB", flush=True)
            break
        found.append(part(size))
        print(row.format(*(f"{value:,.0f}" for value in found[-1].values())), flush=True)
    return found


def curve(found: Sequence[dict[str, float]]) -> str:
    """Points a second over series, which are on a logarithmic axis, as a stand-alone SVG."""
    low, high = (math.log10(found[i]["series"]) for i in (0, -1))
    top = 1.1 * max(f["points_per_s"] for f in found)

    def x(series: float) -> float:
        return LEFT + (math.log10(series) - low) / max(high - low, 1e-9) * (WIDTH - LEFT - 30)

    def y(rate: float) -> float:
        return HEIGHT - BOTTOM - rate / top * (HEIGHT - BOTTOM - TOP)

    step = 10 ** math.floor(math.log10(top))
    rates = np.arange(0, top, step if top / step >= 3 else step / 4)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">'
    ]
    parts.append(f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>')
    for rate in rates.tolist():
        parts.append(f'<path stroke="#ddd" d="M{LEFT} {y(rate):.1f}H{WIDTH - 30}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(rate) + 4:.1f}" text-anchor="end">{number(rate)}</text>')
    for power in range(math.ceil(low), math.floor(high) + 1):
        parts.append(f'<path stroke="#ddd" d="M{x(10**power):.1f} {TOP}V{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text x="{x(10**power):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{10**power:,}</text>')
    line = " ".join(f"{x(f['series']):.1f},{y(f['points_per_s']):.1f}" for f in found)
    parts.append(f'<polyline fill="none" stroke="#1f6feb" stroke-width="2" points="{line}"/>')
    for f in found:
        parts.append(f'<circle cx="{x(f["series"]):.1f}" cy="{y(f["points_per_s"]):.1f}" r="3" fill="#1f6feb"/>')
    parts.append(f'<text x="{WIDTH // 2}" y="{HEIGHT - 6}" text-anchor="middle">series of one detector</text>')
    parts.append(f'<text x="{LEFT}" y="12">points judged a second</text></svg>')
    return "".join(parts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="an object per size as the last line")
    parser.add_argument("--largest", type=int, default=SIZES[-1], help="series")
    parser.add_argument("--memory", type=float, default=8e9, help="bytes that may be used")
    parser.add_argument("--plot", type=Path, help="where to write the curve, an SVG")
    parser.add_argument("--part", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        print(json.dumps(one(args.part)))
        return 0
    found = measure(args.largest, args.memory)
    if args.plot:
        args.plot.write_text(curve(found))
    if args.json:
        print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
