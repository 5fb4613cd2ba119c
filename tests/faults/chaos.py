"""Workers under load that are killed, frozen and stopped at random, and what must be so afterwards.

Two real workers on a real broker read a story while somebody does all that to them. When all is read, every record of the
story must have its point on the topic that detect reads, and each later stage's state and outputs are compared with one
undisturbed pass over the same stage inputs, in this process: state to the bit (by digest), every anomaly and every alert by
its bytes. What is on a topic twice is a repeat, known by its id, and is counted; a lost or an additional one is a fault.

`python -m tests.faults.chaos [KILLS]` is the long form: `make faults`.
"""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from tests.host import broker as kafka

from anomaly.config.load import load, load_specs
from anomaly.config.settings import Settings
from anomaly.correlate.incident import Incident
from anomaly.detect.anomaly import Anomaly, Tick
from anomaly.dispatch.alert import Alert
from anomaly.engine import Engine
from anomaly.host import statelog, wire_points
from anomaly.host.blocks import Place
from anomaly.host.state_topic import StateTopic
from anomaly.host.topics import Names

BEGIN = 1_767_225_600  # seconds since the epoch
GROUPS, QUEUES, EVERY, PARTITIONS = 12, 8, 5, 2
BAD_FOR = 90  # seconds that a fault lasts
CONFIG = """\
kafka:
  bootstrap: ["{bootstrap}"]
  application: {name}
  driver: {driver}
  topics: {{prefix: {name}, partitions: {partitions}}}
sources: [{{topic: {name}, encoding: prometheus_json}}]
blind: {{lag: 100000d, no_input: 100d}}
checkpoint: {{every: 0.5s}}
health: {{listen: "127.0.0.1:{port}"}}
receivers: [{{name: file, file: {{path: "{folder}/alerts-{port}.jsonl"}}, at_least: info}}]
"""

_event = msgspec.json.Decoder(Anomaly | Tick)
_to_json = msgspec.json.Encoder().encode


class Outcome(NamedTuple):
    """What came of it."""

    kills: int
    frozen: int
    redelivered: int  # records of our own topics that are there more than once
    lost: int  # records without their point; anomalies and alerts that one pass gives and the topics do not have
    duplicated: int  # those that the topics have and one pass does not give
    records: int
    alerts: int


def story(step: int) -> Iterator[tuple[int, bytes]]:
    """(partition, record) of all series at a step; now and then a service fails for a while."""
    second = BEGIN + EVERY * step
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))
    for g in range(GROUPS):
        ill = step > 60 and (step * EVERY // BAD_FOR + g) % GROUPS == 0
        for q in range(QUEUES):
            value = (g * 31 + q * 17 + step * 7919) % 100 / 10 + (500 if ill else 0)
            labels = {"__name__": "queue_depth", "job": f"service-{g}", "queue": f"q{q}", "instance": f"10.0.{g}.{q % 2}:1"}
            yield (g + q + step) % PARTITIONS, record(stamp, value, labels)
        served, failed = 100 * step, 50 * max(0, step - 61) * (g == 1)
        for code, value in (("200", served - failed), ("500", failed)):
            labels = {"__name__": "http_requests_total", "job": f"service-{g}", "code": code, "instance": f"10.0.{g}.0:1"}
            yield (g + step) % PARTITIONS, record(stamp, value, labels)


def record(stamp: str, value: float, labels: dict[str, str]) -> bytes:
    """As prometheus-kafka-adapter writes it."""
    return json.dumps({"timestamp": stamp, "value": str(value), "name": labels["__name__"], "labels": labels}).encode()


class Worker:
    """A worker that is made to suffer."""

    def __init__(self, bootstrap: str, name: str, driver: str, folder: Path, chance: float) -> None:
        port = kafka.free_port()
        self.config, self.chance, self.log = folder / f"{port}.yaml", chance, folder / f"{port}.log"
        said = {"bootstrap": bootstrap, "name": name, "driver": driver, "port": port, "folder": folder}
        self.config.write_text(CONFIG.format(partitions=PARTITIONS, **said))
        self.process: subprocess.Popen[bytes] | None = None
        self.fell = 0  # how often it was killed from within

    def start(self) -> None:
        """Begin, or begin again."""
        command = [sys.executable, "-m", "tests.faults.worker", str(self.config), str(self.chance)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=Path(__file__).parents[2], env=os.environ)

    def alive(self) -> bool:
        """Whether it runs."""
        return self.process is not None and self.process.poll() is None

    def send(self, sign: signal.Signals) -> None:
        """A signal."""
        assert self.process
        with suppress(ProcessLookupError):
            self.process.send_signal(sign)

    def end(self, sign: signal.Signals) -> None:
        """A signal, and until it has ended."""
        assert self.process
        self.send(sign)
        self.process.wait(90)


async def feed(bootstrap: str, topic: str, steps: int, done: asyncio.Event, seconds: float) -> None:
    """Write the story at a steady pace; it does not end before everything was done to the workers."""
    step = 0
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=5) as producer:
        while step < steps or not done.is_set():
            at = (BEGIN + EVERY * step) * 1000
            for partition, value in story(step):
                await producer.send(topic, value, partition=partition, timestamp_ms=at)
            step += 1
            await asyncio.sleep(seconds)


async def torment(workers: list[Worker], kills: int, chance: random.Random, done: asyncio.Event) -> tuple[int, int]:
    """Kill, freeze and stop them, and start them again; (kills, times frozen)."""
    frozen = 0
    total = 0
    while total < kills:
        await asyncio.sleep(chance.uniform(1.0, 12.0))
        for fallen in [w for w in workers if not w.alive()]:
            assert fallen.process
            assert fallen.process.returncode == -signal.SIGKILL, fallen.log.read_text()[-3000:]
            total += 1
            fallen.start()
        worker = chance.choice(workers)
        what = chance.random()
        if what < 0.7:
            worker.end(signal.SIGKILL)
            total += 1
            worker.start()
        elif what < 0.85:
            worker.send(signal.SIGSTOP)
            await asyncio.sleep(
                chance.uniform(11.0, 14.0)
            )  # longer than a session: others take over, it comes back a zombie
            worker.send(signal.SIGCONT)
            frozen += 1
        else:
            await asyncio.to_thread(worker.end, signal.SIGTERM)
            worker.start()
    done.set()
    return total, frozen


async def rest(bootstrap: str, name: str, workers: list[Worker], within: float = 240.0) -> None:
    """Until everything is read and done; workers that fell are started again, and fall no more."""
    for worker in workers:
        worker.chance = 0.0
    until = time.monotonic() + within
    while time.monotonic() < until:
        for worker in workers:
            if not worker.alive():
                worker.start()
        if await settled(bootstrap, name):
            return
        await asyncio.sleep(1.0)
    raise AssertionError("not everything was read: " + "\n".join(w.log.read_text()[-2000:] for w in workers))


async def settled(bootstrap: str, name: str) -> bool:
    """Whether every stage has committed all that its topic has."""
    stages = {"decode": name, "detect": f"{name}.points", "correlate": f"{name}.anomalies", "delivery": f"{name}.alerts"}
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    await admin.start()
    await consumer.start()
    try:
        for stage, topic in stages.items():
            places = [TopicPartition(topic, p) for p in range(PARTITIONS)]
            ends = await consumer.end_offsets(places)
            committed = await admin.list_consumer_group_offsets(f"{name}.{stage}")
            if any(ends[p] and (p not in committed or committed[p].offset < ends[p]) for p in places):
                return False
        return True
    finally:
        await consumer.stop()
        await admin.close()


async def read(bootstrap: str, topic: str, partition: int) -> list[bytes]:
    """All values of a partition."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    try:
        place = TopicPartition(topic, partition)
        consumer.assign([place])
        end = (await consumer.end_offsets([place]))[place]
        found: list[bytes] = []
        while await consumer.position(place) < end:
            for records in (await consumer.getmany(timeout_ms=100)).values():
                found += [r.value for r in records if r.value is not None]
        return found
    finally:
        await consumer.stop()


class Verdict(NamedTuple):
    """A topic against what one pass gives."""

    redelivered: int
    lost: int
    added: int
    distinct: int


def compare(found: list[bytes], expected: set[bytes]) -> Verdict:
    """By their bytes."""
    distinct = set(found)
    return Verdict(len(found) - len(distinct), len(expected - distinct), len(distinct - expected), len(distinct))


async def unread(bootstrap: str, name: str, names: Names, sizes: list[int]) -> int:
    """Records of the source, `sizes` by partition, that have no point on the topic that detect reads."""
    seen: set[tuple[int, int]] = set()
    for partition in range(PARTITIONS):
        for value in await read(bootstrap, names.points, partition):
            block = wire_points.decode(value)
            assert block.source == name
            seen |= {(block.partition, block.offset + n) for n in block.points.record.tolist()}
    return len({(p, offset) for p, n in enumerate(sizes) for offset in range(n)} - seen)


async def detected(bootstrap: str, settings: Settings, names: Names) -> Verdict:
    """Every partition of detect against one pass over its input: digests must be equal, anomalies are compared."""
    specs = load_specs()
    expected: set[bytes] = set()
    for partition in range(PARTITIONS):
        engine = Engine(settings, specs, PARTITIONS)
        for value in await read(bootstrap, names.points, partition):
            events = engine.detect(partition, wire_points.decode(value))
            expected |= {_to_json(e) for e in events if isinstance(e, Anomaly)}
        kept = Engine(settings, specs, PARTITIONS).detector(partition)
        assert settings.kafka
        store = StateTopic.of(settings.kafka, Place(names.points, partition))
        found = await store.open()
        await store.close()
        assert found is not None
        statelog.put(found, kept)
        assert kept.digest() == engine.detector(partition).digest(), (
            f"partition {partition}: state is not what one pass gives"
        )
    said = [
        v
        for p in range(PARTITIONS)
        for v in await read(bootstrap, names.anomalies, p)
        if isinstance(_event.decode(v), Anomaly)
    ]
    return compare(said, expected)


async def alerted(bootstrap: str, settings: Settings, names: Names) -> Verdict:
    """The alerts against one pass over the anomalies."""
    expected: set[bytes] = set()
    said: list[bytes] = []
    for partition in range(PARTITIONS):
        engine = Engine(settings, load_specs(), PARTITIONS)
        events = [_event.decode(v) for v in await read(bootstrap, names.anomalies, partition)]
        changed: list[tuple[Incident, Alert | None]] = [c for e in events for c in engine.correlate(partition, [e])]
        expected |= {_to_json(alert) for _, alert in changed if alert}
        said += await read(bootstrap, names.alerts, partition)
    return compare(said, expected)


async def run(bootstrap: str, kills: int, driver: str, steps: int = 200, pace: float = 0.15, seed: int = 1) -> Outcome:
    """The whole story; raises AssertionError where something is not as it must be."""
    name, chance, done = f"chaos-{uuid4().hex[:6]}", random.Random(seed), asyncio.Event()
    names = Names.of(name)
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    forever = {"retention.ms": "-1"}  # the story is of the past, and the broker would delete it
    await admin.create_topics([NewTopic(name, PARTITIONS, 1, topic_configs=forever)])
    with tempfile.TemporaryDirectory(prefix="anomaly-chaos-") as folder:
        workers = [Worker(bootstrap, name, driver, Path(folder), 0.01) for _ in range(2)]
        try:
            workers[0].start()
            await asyncio.sleep(8.0)
            workers[1].start()
            feeding = asyncio.create_task(feed(bootstrap, name, steps, done, pace))
            killed, frozen = await torment(workers, kills, chance, done)
            await feeding
            await rest(bootstrap, name, workers)
            for worker in workers:
                await asyncio.to_thread(worker.end, signal.SIGTERM)
        finally:
            for worker in workers:
                if worker.alive():
                    worker.end(signal.SIGKILL)
        settings = load(str(workers[0].config), {}, [])
        anomalies = await detected(bootstrap, settings, names)
        alerts = await alerted(bootstrap, settings, names)
    sizes = [len(await read(bootstrap, name, p)) for p in range(PARTITIONS)]
    missed = await unread(bootstrap, name, names, sizes)
    await admin.close()
    return Outcome(
        killed, frozen, anomalies.redelivered + alerts.redelivered, missed + anomalies.lost + alerts.lost,
        anomalies.added + alerts.added, sum(sizes), alerts.distinct,
    )  # fmt: skip


def main() -> int:
    """Print the outcome."""
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    totals = []
    with kafka.broker() as bootstrap:
        for driver, share in (("faust", kills // 2), ("consumer", kills - kills // 2)):
            outcome = asyncio.run(run(bootstrap, share, driver))
            totals.append(outcome)
            print(f"{driver}: {outcome}", flush=True)
    print(json.dumps({k: sum(getattr(t, k) for t in totals) for k in Outcome._fields}))
    return int(any(t.lost or t.duplicated for t in totals))


if __name__ == "__main__":
    sys.exit(main())
