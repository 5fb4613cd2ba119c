"""Two workers against one, on the same backlog: points per CPU-second.

A real broker and real `anomaly run` processes, all stages in each, on a source of 16 partitions that is keyed by group. For
one worker and for two, on a topic, a group and state of their own: the workers share the partitions, register the series of
one round, and are stopped; the backlog is written, and they are started again. CPU is that of the workers, from when each
has its kernels to the last point: joining and the restore of state are in it, the start of Python is not. A run in which one
of two did nearly all says nothing, and gives no ratio. The broker shares these cores, so wall time says little.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from benchmarks.million import SIZE, STEP, Feeder, Worker, make_topic, measured, say  # noqa: E402

FAIR = 0.2  # of the points: what each of two workers has to do
SHARED = 8.0  # seconds for two workers to share the partitions
LAST = 120.0  # seconds without another point: the workers have stopped


def crew(bootstrap: str, name: str, folder: Path, n: int) -> list[Worker]:
    """So many workers, each with a name of its own."""
    made = []
    for i in range(n):
        home = folder / str(i)
        home.mkdir()
        worker = Worker(bootstrap, name, home, keyed=True)
        worker.config.write_text(worker.config.read_text().replace("instance: worker", f"instance: worker-{i}"))
        made.append(worker)
    return made


async def judged(workers: list[Worker], points: int) -> tuple[list[float], float]:
    """Wait until so many points are judged: how many each worker did, and their CPU seconds since each had its kernels."""
    done, before, moved = [0.0] * len(workers), [0.0] * len(workers), time.monotonic()
    while sum(done) < points:
        await asyncio.sleep(0.1)
        for i, worker in enumerate(workers):
            said = await asyncio.to_thread(worker.metrics)
            if said and not before[i]:
                before[i] = worker.cpu()
            now = said.get("anomaly_points_total", done[i])
            moved = time.monotonic() if now > done[i] else moved
            done[i] = now
        if time.monotonic() - moved > LAST:
            raise RuntimeError(f"{sum(done):,.0f} of {points:,} points were judged:\n{workers[0].log.read_text()[-2000:]}")
    return done, sum(worker.cpu() - b for worker, b in zip(workers, before, strict=True))


async def begin_together(workers: list[Worker]) -> None:
    """Start them and let them share the partitions, before there is anything to read."""
    for worker in workers:
        worker.start()
    while not all([await asyncio.to_thread(worker.metrics) for worker in workers]):
        await asyncio.sleep(0.2)
    await asyncio.sleep(SHARED)


async def backlog(bootstrap: str, n: int, series: int, rounds: int) -> dict[str, Any]:
    """What so many workers make of it."""
    name = f"spread-{uuid4().hex[:6]}"
    await make_topic(bootstrap, name)
    begin = int(time.time()) // STEP * STEP - STEP * rounds
    with tempfile.TemporaryDirectory(prefix="anomaly-spread-") as folder:
        workers = crew(bootstrap, name, Path(folder), n)
        try:
            await begin_together(workers)
            async with Feeder(bootstrap, name, series // SIZE) as feeder:
                await feeder.round(begin - STEP, frozenset())
                await judged(workers, feeder.points)
                for worker in workers:
                    worker.stop()
                first = feeder.points
                for k in range(rounds):
                    await feeder.round(begin + STEP * k, frozenset())
                began = time.perf_counter()
                for worker in workers:
                    worker.start()  # each has a name, and so the partitions that it had
                done, cpu = await judged(workers, feeder.points - first)
                wall = time.perf_counter() - began
        finally:
            for worker in workers:
                worker.kill()
    points = sum(done)
    shares = [round(d / points, 3) for d in done]
    say(f"{n} workers: {points:,.0f} points, {points / cpu:,.0f} in a CPU-second, {wall:.0f} s, shares {shares}")
    return {"workers": n, "points": points, "shares": shares, "cpu_s": cpu, "wall_s": wall, "points_per_cpu_s": points / cpu}


async def measure(bootstrap: str, args: argparse.Namespace) -> dict[str, Any]:
    """One, two, and again: the better run of each."""
    best: dict[int, dict[str, Any]] = {}
    for n in (1, 2) * args.repeat:
        found = await backlog(bootstrap, n, args.series, args.rounds)
        best[n] = max(found, best.get(n, found), key=lambda run: float(run["points_per_cpu_s"]))
    ratio = best[2]["points_per_cpu_s"] / best[1]["points_per_cpu_s"] if min(best[2]["shares"]) > FAIR else None
    say(f"two workers against one, points a CPU-second: {ratio or 'not known, one of them did nearly all'}")
    return {"series": args.series, "one": best[1], "two": best[2], "two_vs_one_points_per_cpu_s": ratio}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="the figures as the last line")
    parser.add_argument("--series", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=60, help="rounds in the backlog")
    parser.add_argument("--repeat", type=int, default=2, help="runs of each; the better one counts")
    return measured(measure, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
