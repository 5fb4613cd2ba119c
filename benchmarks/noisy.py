"""A noisy environment: how late the others' alerts come while it sends a hundred times what it usually does.

A real broker and a real `anomaly run`, all stages in one process. QUIET environments of small services, each of which
exports every ten seconds and fails half of its requests once; beside them one environment whose few large services do the
same, and for half of the time a hundred times as often. Noise comes and goes in turns of TURN seconds, so that both
are measured on the same machine in the same minutes. An alert is late by what lies between producing the request that
completes the evidence and its trigger on the alerts topic.

The worker's share of a core says how near to its capacity it was: some 300 exports a second, however small, are all that
one can take.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import numpy as np  # noqa: E402
from aiokafka import AIOKafkaProducer  # noqa: E402
from benchmarks.million import (  # noqa: E402
    PARTITIONS,
    SIZE,
    STEP,
    Service,
    Worker,
    make_topic,
    measured,
    readings,
    say,
    triggers,
)

QUIET, SMALL, LARGE = 9, 10, 1_000  # environments; series of a service of theirs, and of the noisy one's
TIMES, TURN, ROUNDS = 100, 20, 12  # as often; seconds; rounds to learn from
FIRST_LARGE = 100_000  # its number

Fails = Callable[[int, int], bool]  # (service, round)


class Crowd:
    """All services, and who fails when. `due`: when the request that completes a service's evidence was produced."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, quiet: int, noisy: int) -> None:
        self.producer, self.topic = producer, topic
        self.quiet = [Service(i, SMALL, f"env-{i % QUIET}") for i in range(quiet)]
        self.noisy = [Service(FIRST_LARGE + i, LARGE, "noisy") for i in range(noisy)]
        self.due: dict[str, float] = {}
        self.points = 0

    async def send(self, service: Service, second: float, failing: bool = False) -> None:
        """One export."""
        value, stamp = service.export(second, failing), int(second * 1000)
        await self.producer.send(self.topic, value, partition=service.number % PARTITIONS, timestamp_ms=stamp)
        self.points += service.size

    async def backlog(self, begin: float) -> None:
        """What is learned from: ROUNDS rounds of everybody, in the order of their time."""
        everybody = [*self.quiet, *self.noisy]
        for k in range(ROUNDS):
            for i, service in enumerate(everybody):
                await self.send(service, begin + STEP * (k + i / len(everybody)))
        await self.producer.flush()

    async def paced(self, services: list[Service], begin: float, rounds: int, every: float, fails: Fails) -> None:
        """So many rounds of some services in real time, spread evenly; data's time is the time of day.

        What failed between two exports is known with the second of them.
        """
        for n in range(rounds * len(services)):
            at = begin + every * n / len(services)
            if (wait := at - time.time()) > 0:
                await asyncio.sleep(wait)
            i, k = n % len(services), n // len(services)
            if fails(i, k - 1):
                self.due[services[i].name] = time.time()
            await self.send(services[i], at, fails(i, k))


async def measure(bootstrap: str, args: argparse.Namespace) -> dict[str, Any]:
    """All of it; prints as it goes."""
    name = f"noisy-{uuid4().hex[:6]}"
    await make_topic(bootstrap, name)
    with tempfile.TemporaryDirectory(prefix="anomaly-noisy-") as folder:
        worker = Worker(bootstrap, name, Path(folder), keyed=args.fused)
        async with AIOKafkaProducer(bootstrap_servers=bootstrap, compression_type="lz4", linger_ms=0) as producer:
            crowd = Crowd(producer, name, args.samples * 2, args.noise // SIZE * STEP // TIMES)
            await crowd.backlog(time.time() - STEP * (ROUNDS + 1) - 60.0)
            worker.start()
            await asyncio.to_thread(readings, worker, float(crowd.points))
            say(f"{len(crowd.quiet):,} small services, {len(crowd.noisy)} large ones are known")
            result = await turns(crowd, worker, bootstrap, name, args.turns)
        worker.kill()
    return result


async def turns(crowd: Crowd, worker: Worker, bootstrap: str, name: str, many: int) -> dict[str, Any]:
    """Turns without noise and with it; what they say."""
    arrived: dict[str, float] = {}
    stop, noise = asyncio.Event(), list[tuple[float, float]]()
    listening = asyncio.create_task(triggers(bootstrap, f"{name}.alerts", arrived, stop))
    rounds, begin = 2 * many * TURN // STEP, time.time() + 1.0
    quiet = asyncio.create_task(crowd.paced(crowd.quiet, begin, rounds, STEP, lambda i, k: i * 7919 % (rounds - 1) == k))
    cpu = {False: 0.0, True: 0.0}
    for turn in range(2 * many):
        loud, at, used = turn % 2 == 1, begin + turn * TURN, worker.cpu()
        rate = TIMES if loud else 1
        await crowd.paced(crowd.noisy, at, TURN * rate // STEP, STEP / rate, lambda i, k: False)
        await asyncio.sleep(max(0.0, at + TURN - time.time()))
        cpu[loud] += worker.cpu() - used
        if loud:
            noise.append((at, at + TURN))
    await quiet
    await asyncio.sleep(3.0)
    stop.set()
    await listening
    return said(crowd, arrived, noise, {loud: used / (many * TURN) for loud, used in cpu.items()})


def said(
    crowd: Crowd, arrived: dict[str, float], noise: list[tuple[float, float]], cpu: dict[bool, float]
) -> dict[str, Any]:
    """Latencies of both kinds of turns, side by side."""
    late: dict[bool, list[float]] = {False: [], True: []}
    for group, due in crowd.due.items():
        if group in arrived:
            late[any(a <= due < b for a, b in noise)].append(arrived[group] - due)
    result: dict[str, Any] = {"missed": sum(g not in arrived for g in crowd.due)}
    result |= {"usual_cpu": cpu[False], "noise_cpu": cpu[True]}
    for kind, found in (("usual", late[False]), ("noise", late[True])):
        result |= {f"{kind}_samples": len(found)} | {f"{kind}_p{q}_s": float(np.percentile(found, q)) for q in (50, 99)}
        say(f"{kind}: {len(found):,} alerts, p50 {result[f'{kind}_p50_s']:.3f} s, p99 {result[f'{kind}_p99_s']:.3f} s")
    result["p99_ratio"] = result["noise_p99_s"] / result["usual_p99_s"]
    shares = f"{cpu[False]:.0%} and {cpu[True]:.0%} of a core"
    say(f"p99 {result['p99_ratio']:.2f} times; the worker at {shares}; {result['missed']} alerts missed")
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="the figures as the last line")
    parser.add_argument("--samples", type=int, default=500, help="alerts in turns of either kind")
    parser.add_argument("--turns", type=int, default=2, help="turns of either kind")
    parser.add_argument("--noise", type=int, default=30_000, help="points a second of the one that is noisy")
    parser.add_argument("--fused", action="store_true", help="decode and detect in one stage")
    return measured(measure, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
