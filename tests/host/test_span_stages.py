"""Spans through the stages as they run on Kafka, with the brokers left out, and with one: several partitions, no keys."""

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from tests.acceptance.test_span_timelines import BEGIN, Ill, second
from tests.host.test_stages import KAFKA, NAMES, PARTITIONS, Kept, fetched
from tests.host.test_worker import Worker, ours_exist

from anomaly.config.load import load_specs
from anomaly.config.settings import Settings, SourceSettings
from anomaly.decode.spans_traces import REPEATED_SPANS
from anomaly.detect.anomaly import Anomaly
from anomaly.engine import Engine
from anomaly.host.health import Health
from anomaly.host.stages import DecodeStage, DetectStage
from anomaly.host.wiring import Wiring

SOURCE = SourceSettings(topic="otlp_spans", encoding="otlp_spans_proto")
HEALTHY, ILL, AFTER = 240, 45, 75  # seconds


def records(t: int) -> list[bytes]:
    """A second of two services, of which one fails for a while."""
    return list(second(t, Ill(fails=0.5) if HEALTHY <= t < HEALTHY + ILL else Ill()))


@pytest.fixture(autouse=True)
def _no_notes(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    from anomaly.host import compacted

    async def nothing(*_: Any) -> dict[int, dict[bytes, bytes]]:
        return {p: {} for p in range(PARTITIONS)}

    if "kafka" not in request.keywords:
        monkeypatch.setattr(compacted, "read", nothing)


@pytest.mark.parametrize("version", [1, 2])
async def test_over_the_topic_of_points_the_same_is_said_as_in_one_process(version: int) -> None:
    """In either version of its format; a trace's records are on one partition, which changes from second to second."""
    topics = msgspec.structs.replace(KAFKA.topics, points_version=version)
    kafka = msgspec.structs.replace(KAFKA, topics=topics)
    settings, partitions = Settings(kafka=kafka, sources=[SOURCE]), dict.fromkeys(NAMES, PARTITIONS)
    wiring = Wiring(kafka, NAMES, partitions, Engine(settings, load_specs(), PARTITIONS), Kept(), Health())
    decode, detect = DecodeStage(wiring, [SOURCE]), DetectStage(wiring)
    alone, said = Engine(settings, load_specs(), PARTITIONS), list[Anomaly]()
    for t in range(HEALTHY + ILL + AFTER):
        block = fetched(SOURCE.topic, t % PARTITIONS, t // PARTITIONS * 2, records(t), (BEGIN + t + 1) * 1000)
        await decode.take(block)
        await decode.finish()
        for p, texts in wiring.outputs.by_topic.pop(NAMES.points, {}).items():  # type: ignore[attr-defined]
            await detect.take(fetched(NAMES.points, p or 0, 0, texts, 0))
        for p, made in alone.decode(SOURCE, block)[0]:
            said += [event for event in alone.detect(p, made) if isinstance(event, Anomaly)]
    told = wiring.outputs.anomalies()  # type: ignore[attr-defined]
    expected = sorted((a.time, a.id, str(a.event)) for a in said)
    assert {a["group"] for a in told} == {"shop"}
    assert sorted((a["time"], a["id"], a["event"]) for a in told) == expected


async def test_spans_that_come_twice_are_counted_where_an_operator_looks() -> None:
    wiring = Wiring(
        KAFKA, NAMES, dict.fromkeys(NAMES, PARTITIONS), Engine(Settings(kafka=KAFKA), load_specs(), 2), Kept(), Health()
    )
    decode = DecodeStage(wiring, [SOURCE])
    for offset in (0, 2):
        await decode.take(fetched(SOURCE.topic, 0, offset, records(0), BEGIN * 1000))
    assert wiring.health.registry.get_sample_value("anomaly_points_total", {"outcome": REPEATED_SPANS}) == 60


@pytest.mark.kafka
@pytest.mark.timeout(300)
async def test_spans_on_a_broker_become_one_trigger_and_one_resolve(bootstrap: str, topic: Any, tmp_path: Path) -> None:
    """Without keys, each second on another of two partitions; the alert names the operation."""
    worker = Worker(bootstrap, await topic(2, name="otlp"), "consumer", tmp_path)
    worker.config.write_text(worker.config.read_text().replace("encoding: otlp_proto", "encoding: otlp_spans_proto"))
    try:
        worker.start()
        await worker.until(worker.ready, "ready")
        async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
            for t in range(HEALTHY + ILL + AFTER):
                for value in records(t):
                    await producer.send(worker.source, value, partition=t % 2, timestamp_ms=(BEGIN + t + 1) * 1000)
                await asyncio.sleep(0.01)

        async def resolved() -> bool:
            return bool(await worker.alerts("resolve"))

        await worker.until(ours_exist(worker, resolved), "a resolve")
        alerts = [json.loads(r.value) for r in await worker.read("alerts")]
        assert [a["event"] for a in alerts if a["event"] != "update"] == ["trigger", "resolve"]
        assert {a["group"] for a in alerts} == {"shop"}
        assert alerts[0]["severity"] == "critical"
        assert "/pay, " in alerts[0]["title"]
        assert await worker.read("dead") == []
    finally:
        if worker.alive():
            worker.end(signal.SIGKILL)
