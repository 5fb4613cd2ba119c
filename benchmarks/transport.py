"""What reading costs, side by side in one run: blocks through Faust, blocks without it, records one by one.

getmany   aiokafka's own reading: an object per record, nothing done with it
blocks    the bare block reader inside aiokafka: fetch, decompress, scan into flat arrays
consumer  the plain consumer adapter: blocks with group, commits, one block at a time to a stage
faust     the Faust adapter: the same through a Faust agent, as a worker does it

Two million one-point JSON records of about 200 bytes, lz4, over 4 partitions. Each reading is a process of its own; the
rounds are interleaved, and of each reading the best round counts, because other work on the machine only ever slows. Time
runs from the first fetch that is sent, which is the same moment for all: an adapter hears of its partitions only when some
megabytes have come already. CPU time is that of all threads of the process meanwhile.
"""

import argparse
import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from uuid import uuid4

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from aiokafka import AIOKafkaConsumer, TopicPartition  # noqa: E402
from aiokafka.consumer.fetcher import Fetcher  # noqa: E402
from aiokafka.record.default_records import DefaultRecordBatchBuilder  # noqa: E402
from benchmarks.ingest import ABSENT, PARTITIONS, Counted, fill, json_records  # noqa: E402
from tests.host import broker as kafka  # noqa: E402

from anomaly.config.settings import KafkaSettings  # noqa: E402
from anomaly.decode.records import DeadLetter  # noqa: E402
from anomaly.host import blocks  # noqa: E402
from anomaly.host.blocks import BLOCKS, BlockReader, Fetched, Place  # noqa: E402
from anomaly.host.consumer_source import ConsumerSource  # noqa: E402
from anomaly.host.faust_source import FaustSource  # noqa: E402
from anomaly.host.health import Health  # noqa: E402
from anomaly.host.intake import Intake  # noqa: E402
from anomaly.host.source import FETCH_BYTES, FETCH_WAIT, WAITING_BLOCKS, Source  # noqa: E402

TIMEOUT = 120  # seconds, of one reading


class Taken(NamedTuple):
    """Records a second, of wall time and of CPU time."""

    rate: float
    cpu: float


class Counting:
    """A stage that counts records and does nothing else."""

    name, reads_sources, settles_later = "count", True, False
    keeps_state = False

    def state(self, place: Place) -> None:
        """None."""

    def __init__(self, topic: str, counted: Counted) -> None:
        self.topics: tuple[str, ...] = (topic,)
        self.counted = counted

    async def restore(self, places: Sequence[Place]) -> None:
        """There is nothing to bring back."""

    def drop(self, place: Place) -> None:
        """There is nothing to forget."""

    async def take(self, block: Fetched) -> int:
        """A block has gone all the way."""
        self.counted.add(len(block))
        return len(block)

    def report(self) -> None:
        """There is nothing to tell."""

    async def sent(self) -> None:
        """Nothing is sent."""

    async def finish(self) -> None:
        """Nothing is left."""


def begin_at_the_first_fetch(counted: Counted) -> None:
    """Time runs from there, whoever reads."""
    send = Fetcher._proc_fetch_request

    async def sent(self: Fetcher, *request: Any) -> Any:
        counted.begin()
        return await send(self, *request)

    Fetcher._proc_fetch_request = sent


async def set_aside(letters: Sequence[DeadLetter]) -> None:
    """Every record can be read."""
    assert not letters, letters[0]


async def adapter(make: Callable[..., Source], bootstrap: str, topic: str, records: int) -> Counted:
    """Through a Source, to a stage."""
    counted = Counted(records)
    begin_at_the_first_fetch(counted)
    intake = Intake(Counting(topic, counted), set_aside, Health())
    source = make(KafkaSettings(bootstrap=[bootstrap]), f"transport-{uuid4().hex[:8]}", intake)
    running = asyncio.create_task(source.run())
    await asyncio.wait([running, asyncio.create_task(counted.ended.wait())], return_when=asyncio.FIRST_COMPLETED)
    await source.stop()
    await running
    return counted


async def bare(bootstrap: str, topic: str, records: int, as_blocks: bool) -> Counted:
    """A consumer without a group; for blocks with the sizes and waits that the adapters use.

    Without a bound on what a poll returns, all blocks of a fetch are alive at once: fresh pages for each cost it a third.
    """
    sizes = {
        "value_deserializer": BLOCKS,
        "fetch_max_wait_ms": int(FETCH_WAIT * 1000),
        "max_partition_fetch_bytes": FETCH_BYTES,
    }
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest", **sizes if as_blocks else {}
    )
    await consumer.start()
    counted, most = Counted(records), WAITING_BLOCKS if as_blocks else None
    begin_at_the_first_fetch(counted)
    consumer.assign([TopicPartition(topic, p) for p in range(PARTITIONS)])
    while not counted.ended.is_set():
        for found in (await consumer.getmany(timeout_ms=100, max_records=most)).values():
            counted.add(sum(map(len, found)) if as_blocks else len(found))
    await consumer.stop()
    return counted


Reading = Callable[[str, str, int], Coroutine[Any, Any, Counted]]
READINGS: dict[str, Reading] = {
    "getmany": partial(bare, as_blocks=False),
    "blocks": partial(bare, as_blocks=True),
    "consumer": partial(adapter, ConsumerSource),
    "faust": partial(adapter, FaustSource),
}


def one(name: str, bootstrap: str, topic: str, records: int) -> Taken:
    """One reading, in this process; the scan is compiled before it begins."""
    blocks.install()
    batch = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 10)
    batch.append(0, 0, None, b"x", [])
    assert len(next(BlockReader((topic, 0), bytes(batch.build()), None, 0))) == 1
    counted = asyncio.run(READINGS[name](bootstrap, topic, records))
    return Taken(counted.seen / counted.took, counted.seen / counted.cpu)


def part(*arguments: object) -> Taken:
    """One reading, in a process of its own."""
    command = [sys.executable, __file__, "--part", *map(str, arguments)]
    found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=TIMEOUT).stdout
    return Taken(*json.loads(found.splitlines()[-1]))


def measure(bootstrap: str, records: int, rounds: int) -> dict[str, float]:
    """All readings, round after round; prints the table."""
    topic = f"transport-{uuid4().hex[:6]}"
    asyncio.run(fill(bootstrap, topic, json_records(records)))
    found: dict[str, list[Taken]] = {name: [] for name in READINGS}
    for _ in range(rounds):
        for name, taken in found.items():
            taken.append(part(name, bootstrap, topic, records))
    row = "{:10} {:>14} {:>14} {:>20}"
    print(row.format("", "records/s", "median", "records/s of CPU"))
    for name, taken in found.items():
        rates = [t.rate for t in taken]
        print(
            row.format(name, f"{max(rates):,.0f}", f"{median(rates):,.0f}", f"{max(t.cpu for t in taken):,.0f}"), flush=True
        )
    best = {name: max(t.rate for t in taken) for name, taken in found.items()}
    return {
        "transport_records_per_s": best["faust"],
        "transport_vs_block_reader": best["faust"] / best["blocks"],
        "transport_vs_getmany": best["faust"] / best["getmany"],
        "consumer_records_per_s": best["consumer"],
        "block_reader_records_per_s": best["blocks"],
        "getmany_records_per_s": best["getmany"],
        "transport_records_per_cpu_s": max(t.cpu for t in found["faust"]),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="the figures as the last line")
    parser.add_argument("--records", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--part", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        name, bootstrap, topic, records = args.part
        print(json.dumps(one(name, bootstrap, topic, int(records))))
        return 0
    try:
        with kafka.broker() as bootstrap:
            results = measure(bootstrap, args.records, args.rounds)
    except kafka.Missing as missing:
        print(missing, file=sys.stderr)
        return ABSENT
    if args.json:
        print(json.dumps(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
