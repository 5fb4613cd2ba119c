"""The worker as a process of its own, on a real broker: telemetry of the OpenTelemetry SDK in, alerts out."""

import asyncio
import gzip
import json
import os
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from prometheus_client.parser import text_string_to_metric_families
from tests.host import broker as kafka
from tests.host.shop import telemetry

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

MakeTopic = Callable[..., Awaitable[str]]
BEGIN = 1_767_225_600  # seconds since the epoch
FUSED = "fused"  # decoded and judged in one stage
HEALTHY, ILL, AFTER = 240, 45, 150  # seconds of the story


class Worker:
    """`anomaly run`, started, killed and started again."""

    def __init__(self, bootstrap: str, source: str, driver: str, folder: Path) -> None:
        self.bootstrap, self.source, self.prefix, self.folder = bootstrap, source, f"a-{source}", folder
        self.reads = "fused" if driver == FUSED else "decode"
        self.log = folder / "worker.log"
        self.port = kafka.free_port()
        self.config = folder / "anomaly.yaml"
        self.config.write_text(f"""\
kafka:
  bootstrap: ["{bootstrap}"]
  application: {self.prefix}
  driver: {"faust" if driver == FUSED else driver}
  topics: {{prefix: {self.prefix}, partitions: 2}}
sources:
  - {{topic: {source}, encoding: otlp_proto{", keyed: group" if driver == FUSED else ""}}}
shadow: off
blind: {{lag: 100000d}}
health: {{listen: "127.0.0.1:{self.port}"}}
receivers:
  - {{name: file, file: {{path: "{folder}/alerts.jsonl"}}, at_least: info}}
""")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin, or begin again."""
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "anomaly", "run", "--config", str(self.config)]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"PYTHONUNBUFFERED": "1"})

    def end(self, sign: signal.Signals) -> int:
        """Send a signal and wait for the end; the exit code."""
        assert self.process
        self.process.send_signal(sign)
        return self.process.wait(60)

    def alive(self) -> bool:
        """Whether it runs."""
        return self.process is not None and self.process.poll() is None

    async def ready(self) -> bool:
        """Whether it says so."""
        with suppress(OSError):
            async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{self.port}/readyz") as answer:
                return answer.status == 200
        return False

    def sent(self) -> list[dict[str, Any]]:
        """What the file receiver got."""
        path = self.folder / "alerts.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    async def outcomes(self) -> dict[str, float]:
        """Points by what became of them, as Prometheus reads it."""
        url = f"http://127.0.0.1:{self.port}/metrics"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            families = {f.name: f for f in text_string_to_metric_families(await answer.text())}
        return {s.labels["outcome"]: s.value for s in families["anomaly_points"].samples if s.name.endswith("_total")}

    async def committed(self) -> int:
        """How far the stage that reads the source has committed it, over all partitions."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            found = await admin.list_consumer_group_offsets(f"{self.prefix}.{self.reads}")
        except GroupCoordinatorNotAvailableError:  # a broker's very first group
            return 0
        finally:
            await admin.close()
        return sum(at.offset for place, at in found.items() if place.topic == self.source)

    async def read(self, topic: str) -> list[Any]:
        """All records of a topic of ours, with their partition's order kept."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, auto_offset_reset="earliest", enable_auto_commit=False)
        await consumer.start()
        try:
            places = [TopicPartition(f"{self.prefix}.{topic}", p) for p in (0, 1)]
            consumer.assign(places)
            ends = await consumer.end_offsets(places)
            found: list[Any] = []
            while [p for p in places if await consumer.position(p) < ends[p]]:
                for records in (await consumer.getmany(timeout_ms=100)).values():
                    found += records
            return found
        finally:
            await consumer.stop()

    async def until(self, holds: Callable[[], Awaitable[bool]], what: str, seconds: float = 90) -> None:
        """Wait until something is so."""
        try:
            async with asyncio.timeout(seconds):
                while not await holds():
                    assert self.alive(), f"the worker ended:\n{self.log.read_text()[-4000:]}"
                    await asyncio.sleep(0.25)
        except TimeoutError:
            pytest.fail(f"not within {seconds} s: {what}\n{self.log.read_text()[-4000:]}")

    async def alerts(self, event: str) -> list[Any]:
        """Alerts of a kind on the topic."""
        found = await self.read("alerts")
        return [a for a in map(json.loads, (r.value for r in found)) if a["event"] == event]


@pytest.fixture(params=["faust", "consumer"])
async def worker(request: pytest.FixtureRequest, bootstrap: str, topic: MakeTopic, tmp_path: Path) -> Any:
    """A worker on a topic of its own; ended with the test."""
    made = Worker(bootstrap, await topic(2, name="otlp"), str(request.param), tmp_path)
    yield made
    if made.alive():
        made.end(signal.SIGKILL)


@pytest.fixture(params=["faust", "consumer", FUSED])
async def any_worker(request: pytest.FixtureRequest, bootstrap: str, topic: MakeTopic, tmp_path: Path) -> Any:
    """The same, and one for which the source is declared to be keyed by group."""
    made = Worker(bootstrap, await topic(2, name="otlp"), str(request.param), tmp_path)
    yield made
    if made.alive():
        made.end(signal.SIGKILL)


Story = list[tuple[int, str, bytes]]


@pytest.fixture(scope="session")
def story() -> Story:
    """Four minutes of health, 45 seconds in which payment is ill, and its recovery."""
    return list(telemetry(BEGIN, HEALTHY + ILL + AFTER, HEALTHY, HEALTHY + ILL))


async def play(worker: Worker, story: Sequence[tuple[int, str, bytes]], pace: float = 0.01) -> None:
    """Write telemetry, at the event's time, a service to a partition; a second of it takes `pace` seconds.

    All at once would be a backlog: a partition is read to its end before another, and its time runs ahead.
    """
    async with AIOKafkaProducer(bootstrap_servers=worker.bootstrap, compression_type="zstd", acks="all") as producer:
        last = 0
        for time, name, request in story:
            if time != last:
                await asyncio.sleep(pace)
                last = time
            await producer.send(worker.source, request, partition=zlib.crc32(name.encode()) % 2, timestamp_ms=time)


def chapters(story: Story, *seconds: int) -> Iterator[Story]:
    """The story cut at these seconds."""
    edges = [0, *seconds, HEALTHY + ILL + AFTER]
    for a, b in pairwise(edges):
        yield [s for s in story if a <= s[0] // 1000 - BEGIN < b]


async def test_one_trigger_and_one_resolve_for_one_fault(any_worker: Worker, story: Story) -> None:
    """The right group, in order, on the topic and at the receiver, as CloudEvents; nothing is set aside."""
    any_worker.start()
    await any_worker.until(any_worker.ready, "ready")
    await play(any_worker, story)

    async def resolved() -> bool:
        return any_worker.log.exists() and bool(await any_worker.alerts("resolve")) and len(any_worker.sent()) >= 2

    await any_worker.until(ours_exist(any_worker, resolved), "a resolve")
    await any_worker.until(lambda: all_committed(any_worker, len(story)), "everything committed")
    records = await any_worker.read("alerts")
    alerts = [json.loads(r.value) for r in records]
    assert [a["event"] for a in alerts if a["event"] != "update"] == ["trigger", "resolve"]
    assert {a["group"] for a in alerts} == {"shop/payment"}
    assert len({a["dedup_key"] for a in alerts}) == 1
    assert dict(records[0].headers)["ce_type"] == b"anomaly.alert.trigger"
    assert [a["id"] for a in any_worker.sent()] == [a["id"] for a in alerts]
    assert await any_worker.read("dead") == []
    assert any_worker.end(signal.SIGTERM) == 0


def ours_exist(worker: Worker, then: Callable[[], Awaitable[bool]]) -> Callable[[], Awaitable[bool]]:
    """Our topics are made by the worker: ask no earlier."""

    async def holds() -> bool:
        admin = AIOKafkaAdminClient(bootstrap_servers=worker.bootstrap)
        await admin.start()
        try:
            there = f"{worker.prefix}.alerts" in await admin.list_topics()
        finally:
            await admin.close()
        return there and await then()

    return holds


async def all_committed(worker: Worker, n: int) -> bool:
    """Whether decode has worked off `n` records."""
    return await worker.committed() == n


async def test_an_open_incident_survives_a_kill(any_worker: Worker, story: Story) -> None:
    """Killed while the fault lasts: no second trigger, no resolve before its end, one after it; no record is lost."""
    before, during, rest = chapters(story, HEALTHY + 25, HEALTHY + ILL)
    any_worker.start()
    await any_worker.until(any_worker.ready, "ready")
    await play(any_worker, before)

    async def triggered() -> bool:
        return bool(await any_worker.alerts("trigger")) and bool(any_worker.sent())

    await any_worker.until(ours_exist(any_worker, triggered), "a trigger")
    any_worker.end(signal.SIGKILL)

    any_worker.start()
    await play(any_worker, during)
    await any_worker.until(
        lambda: all_committed(any_worker, len(before) + len(during)), "the fault worked off after the kill"
    )
    assert await any_worker.alerts("resolve") == []
    await play(any_worker, rest)

    async def resolved() -> bool:
        return bool(await any_worker.alerts("resolve"))

    await any_worker.until(resolved, "a resolve")
    await any_worker.until(lambda: all_committed(any_worker, len(story)), "everything committed")
    alerts = [json.loads(r.value) for r in await any_worker.read("alerts")]
    by_event = {event: {a["id"] for a in alerts if a["event"] == event} for event in ("trigger", "resolve")}
    assert {event: len(ids) for event, ids in by_event.items()} == {"trigger": 1, "resolve": 1}
    assert len({a["dedup_key"] for a in alerts}) == 1
    assert {a["group"] for a in alerts} == {"shop/payment"}


async def test_a_record_that_cannot_be_read_is_set_aside_with_its_bytes(worker: Worker, story: Story) -> None:
    """Where it stood and why are in the headers; its neighbours are judged."""
    worker.start()
    (first, *_) = chapters(story, 3)
    await play(worker, [*first, (BEGIN * 1000, "web", b"no telemetry"), *first])
    await worker.until(ours_exist(worker, lambda: all_committed(worker, 2 * len(first) + 1)), "everything committed")
    (dead,) = await worker.read("dead")
    said = {k: v.decode() for k, v in dead.headers}
    assert dead.value == b"no telemetry"
    assert said["anomaly.source"] == worker.source
    assert said["anomaly.reason"]
    assert said["anomaly.offset"].isdigit()


async def test_every_record_becomes_points_once_committed(worker: Worker, story: Story) -> None:
    """Killed twice while it reads: what is committed has its points on the topic, each record at least once."""
    from anomaly.host import wire_points

    worker.start()
    await play(worker, story[:600])
    await worker.until(ours_exist(worker, lambda: some_committed(worker)), "a commit")
    worker.end(signal.SIGKILL)
    worker.start()
    before = await worker.committed()
    await play(worker, story[600:])
    await worker.until(lambda: some_committed(worker, before), "a further commit")
    worker.end(signal.SIGKILL)
    worker.start()
    await worker.until(lambda: all_committed(worker, len(story)), "everything committed")
    seen: set[tuple[int, int]] = set()
    for record in await worker.read("points"):
        block = wire_points.decode(record.value)
        seen |= {(block.partition, offset) for offset in range(block.offset, block.next_offset) if len(block.points)}
    sizes = [sum(zlib.crc32(name.encode()) % 2 == p for _, name, _ in story) for p in (0, 1)]
    assert seen == {(p, offset) for p in (0, 1) for offset in range(sizes[p])}
    assert msgspec.json.decode((await worker.read("anomalies"))[-1].value)


COLLECTOR = Path(os.environ.get("ANOMALY_DATA", "")) / "collector" / "otlp_metrics.bin.gz"


@pytest.mark.skipif(
    "ANOMALY_DATA" not in os.environ or not COLLECTOR.exists(),
    reason="ANOMALY_DATA names no folder with a collector's records",
)
async def test_every_point_of_a_real_collector_is_accounted_for(worker: Worker) -> None:
    """Scored, warming, converted, ignored by a spec, duplicate, late …: the outcomes add up to upb's count of points."""
    records = list(recorded(COLLECTOR))
    requests = [ExportMetricsServiceRequest.FromString(value) for *_, value in records]
    metrics = [m for r in requests for rm in r.resource_metrics for sm in rm.scope_metrics for m in sm.metrics]
    expected = sum(len(getattr(m, str(m.WhichOneof("data"))).data_points) for m in metrics if m.WhichOneof("data"))
    worker.start()
    async with AIOKafkaProducer(bootstrap_servers=worker.bootstrap, compression_type="zstd", acks="all") as producer:
        for partition, time, value in records:
            await producer.send(worker.source, value, partition=partition % 2, timestamp_ms=time)

    async def counted() -> bool:
        return sum((await worker.outcomes()).values()) >= expected

    await worker.until(ours_exist(worker, lambda: all_committed(worker, len(records))), "everything committed")
    await worker.until(counted, "every point counted")
    outcomes = await worker.outcomes()
    assert (sum(outcomes.values()), await worker.read("dead")) == (expected, [])
    assert {k for k, n in outcomes.items() if n} <= {"scored", "warming", "converted", "ignored", "duplicate", "late"}


def recorded(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """(partition, time, value) of the records in a file."""
    data, at = gzip.decompress(path.read_bytes()), 0
    while at < len(data):
        partition, time, key, size = struct.unpack_from(">iqii", data, at)
        at += 20 + max(key, 0)
        yield partition, time, data[at : at + size]
        at += size


async def some_committed(worker: Worker, before: int = 0) -> bool:
    """Whether decode has worked off something since."""
    return await worker.committed() > before
