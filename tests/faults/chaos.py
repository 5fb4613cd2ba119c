"""Workers under load that are killed, frozen and stopped at random, and what must be so afterwards.

Two real workers on a real broker read a story while somebody does all that to them (`torment`), lets a third one come and
go, restarts the broker, and moves the workers' clocks. When all is read, every record of the story must have its point on
the topic that detect reads, and each later stage's state and outputs are compared with one undisturbed pass over the same
stage inputs, in this process: state to the bit (by digest), every anomaly and every alert by its bytes, and of the lines
that receivers got the last one of each incident. What is on a topic twice is a repeat, known by its id, and is counted; a
lost or an additional one is a fault.

`python -m tests.faults.chaos [KILLS]` is the long form: `make faults`.
"""

import asyncio
import hashlib
import json
import logging
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError
from tests.faults.torment import PARTITIONS, Torment, Worker
from tests.host import broker as kafka

from anomaly.config.load import load, load_specs
from anomaly.config.settings import Settings
from anomaly.correlate.correlator import Memory
from anomaly.correlate.incident import Incident
from anomaly.detect.anomaly import Anomaly, Tick
from anomaly.detect.beside import Calls, Change, Facts
from anomaly.dispatch.alert import Alert, What
from anomaly.engine import Engine
from anomaly.host import statelog, wire_points
from anomaly.host.blocks import Place
from anomaly.host.stages_alerts import Remembered
from anomaly.host.state_topic import StateTopic
from anomaly.host.topics import Names

BEGIN = 1_767_225_600  # seconds since the epoch
GROUPS, QUEUES, EVERY = 12, 8, 5
BAD_FOR = 90  # seconds that a fault lasts
# The story's writer: a broker that is away for a while neither loses nor repeats a record of it.
PATIENT: dict[str, Any] = {"enable_idempotence": True, "request_timeout_ms": 180_000}

_event = msgspec.json.Decoder(Anomaly | Tick | Calls | Facts | Change)
_alert = msgspec.json.Decoder(Alert)
_to_json = msgspec.json.Encoder().encode


class Outcome(NamedTuple):
    """What came of it."""

    kills: int
    frozen: int
    stops: int
    rebalances: int  # a third worker came and went
    broker_restarts: int
    clock_jumps: int
    redelivered: int  # records of our own topics that are there more than once
    lost: int  # records without their point; anomalies and alerts that one pass gives and the topics do not have; untold
    duplicated: int  # those that the topics have and one pass does not give
    records: int
    alerts: int
    resent: int  # lines that a receiver got again, by the same id


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


async def feed(bootstrap: str, topic: str, steps: int, done: asyncio.Event, seconds: float) -> None:
    """Write the story at a steady pace; it does not end before everything was done to the workers."""
    step = 0
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=5, **PATIENT) as producer:
        while step < steps or not done.is_set():
            at = (BEGIN + EVERY * step) * 1000
            for partition, value in story(step):
                await producer.send(topic, value, partition=partition, timestamp_ms=at)
            step += 1
            await asyncio.sleep(seconds)


async def rest(bootstrap: str, name: str, workers: list[Worker], within: float = 240.0) -> None:
    """Until everything is read and done; workers that fell are started again, and fall no more."""
    for worker in workers:
        worker.chance = 0.0
    until = time.monotonic() + within
    while time.monotonic() < until:
        for worker in workers:
            if not worker.alive():
                worker.start()
        with suppress(KafkaError):  # a broker that is hardly back does not know its groups yet
            if await settled(bootstrap, name):
                return
        await asyncio.sleep(1.0)
    raise AssertionError("not everything was read: " + "\n".join(w.log.read_text()[-2000:] for w in workers))


async def settled(bootstrap: str, name: str, reads: str = "decode") -> bool:
    """Whether every stage has committed all that its topic has; `reads` is the one of the source."""
    topics = {name: reads, f"{name}.points": "detect", f"{name}.anomalies": "correlate", f"{name}.alerts": "delivery"}
    return await committed(bootstrap, name, topics)


async def committed(bootstrap: str, name: str, topics: Mapping[str, str]) -> bool:
    """Whether the stages that read these topics, by topic, have committed all that there is."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    await admin.start()
    await consumer.start()
    try:
        for topic, stage in topics.items():
            places = [TopicPartition(topic, p) for p in range(PARTITIONS)]
            ends = await consumer.end_offsets(places)
            done = await admin.list_consumer_group_offsets(f"{name}.{stage}")
            if any(ends[p] and (p not in done or done[p].offset < ends[p]) for p in places):
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
    """The alerts and correlate's state against one pass over the anomalies: what it remembers must be equal, to the byte."""
    expected: set[bytes] = set()
    said: list[bytes] = []
    for partition in range(PARTITIONS):
        engine = Engine(settings, load_specs(), PARTITIONS)
        events = [_event.decode(v) for v in await read(bootstrap, names.anomalies, partition)]
        changed: list[tuple[Incident, Alert | None]] = [c for e in events for c in engine.correlate(partition, [e])]
        expected |= {_to_json(alert) for _, alert in changed if alert}
        said += await read(bootstrap, names.alerts, partition)
        assert settings.kafka
        store = StateTopic.of(settings.kafka, Place(names.anomalies, partition))
        found = await store.open()
        await store.close()
        assert found is not None
        remembered: list[bytes] = []
        statelog.put(found, statelog.Whole(bytes, remembered.append))
        kept = msgspec.msgpack.decode(remembered[-1], type=Remembered)
        assert kept.budgets == engine.budgets(partition).dump(), (
            f"partition {partition}: the alert budgets are not what one pass gives"
        )
        assert digest(kept.memory) == digest(engine.correlator(partition).memory()), (
            f"partition {partition}: what correlate remembers is not what one pass gives"
        )
    return compare(said, expected)


def digest(memory: Memory) -> str:
    """Of all that a correlator knows."""
    return hashlib.sha256(msgspec.msgpack.encode(memory)).hexdigest()


def received(folder: Path) -> list[Alert]:
    """The lines of all workers' file receivers; one that was cut by a kill was sent again."""
    lines = [line for file in sorted(folder.glob("alerts-*.jsonl")) for line in file.read_bytes().splitlines()]
    found: list[Alert] = []
    for line in lines:
        with suppress(msgspec.DecodeError):
            found.append(_alert.decode(line))
    return found


def told(alerts: list[Alert], lines: list[Alert]) -> Verdict:
    """What people got, against the alerts topic, in its order.

    While alerts of an incident wait, the newest takes the place of the others; and who was never told of it is not told of
    its end. So the last alert of every incident must have come, but for the end of one that nobody heard of.
    """
    last = {alert.dedup_key: alert for alert in alerts}
    ids, heard = {line.id for line in lines}, {line.dedup_key for line in lines}
    untold = [a for a in last.values() if a.id not in ids and (a.event is not What.RESOLVE or a.dedup_key in heard)]
    return Verdict(len(lines) - len(ids), len(untold), len(ids - {a.id for a in alerts}), len(ids))


async def run(
    bootstrap: str,
    kills: int,
    driver: str,
    steps: int = 200,
    pace: float = 0.15,
    seed: int = 1,
    own: kafka.Broker | None = None,
) -> Outcome:
    """The whole story; raises AssertionError where something is not as it must be. Of `own` the broker is restarted too."""
    name, done = f"chaos-{uuid4().hex[:6]}", asyncio.Event()
    names = Names.of(name)
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    forever = {"retention.ms": "-1"}  # the story is of the past, and the broker would delete it
    await admin.create_topics([NewTopic(name, PARTITIONS, 1, topic_configs=forever)])
    await admin.close()
    with tempfile.TemporaryDirectory(prefix="anomaly-chaos-") as folder:
        *workers, guest = [Worker(bootstrap, name, driver, Path(folder), 0.01) for _ in range(3)]
        torment = Torment(workers, guest, random.Random(seed), own)
        try:
            workers[0].start()
            await asyncio.sleep(8.0)
            workers[1].start()
            feeding = asyncio.create_task(feed(bootstrap, name, steps, done, pace))
            await torment.until(kills)
            done.set()
            await feeding
            await rest(bootstrap, name, workers)
            for worker in workers:
                await asyncio.to_thread(worker.end, signal.SIGTERM)
        finally:
            for worker in (*workers, guest):
                if worker.alive():
                    worker.end(signal.SIGKILL)
        settings = load(str(workers[0].config), {}, [])
        lines, jumps = received(Path(folder)), sum(w.jumps() for w in (*workers, guest))
    anomalies = await detected(bootstrap, settings, names)
    alerts = await alerted(bootstrap, settings, names)
    heard = told([_alert.decode(v) for p in range(PARTITIONS) for v in await read(bootstrap, names.alerts, p)], lines)
    sizes = [len(await read(bootstrap, name, p)) for p in range(PARTITIONS)]
    missed = await unread(bootstrap, name, names, sizes)
    deeds = torment.done
    return Outcome(
        kills=deeds["kills"], frozen=deeds["frozen"], stops=deeds["stops"], rebalances=deeds["rebalances"],
        broker_restarts=deeds["broker_restarts"], clock_jumps=jumps,
        redelivered=anomalies.redelivered + alerts.redelivered, lost=missed + anomalies.lost + alerts.lost + heard.lost,
        duplicated=anomalies.added + alerts.added + heard.added, records=sum(sizes), alerts=alerts.distinct,
        resent=heard.redelivered,
    )  # fmt: skip


def main() -> int:
    """Print the outcome."""
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # brokers are away on purpose
    totals = []
    with kafka.own_broker() as own:
        for driver, share in (("faust", kills // 2), ("consumer", kills - kills // 2)):
            outcome = asyncio.run(run(own.bootstrap, share, driver, own=own))
            totals.append(outcome)
            print(f"{driver}: {outcome}", flush=True)
    print(json.dumps({k: sum(getattr(t, k) for t in totals) for k in Outcome._fields}))
    return int(any(t.lost or t.duplicated for t in totals))


if __name__ == "__main__":
    sys.exit(main())
