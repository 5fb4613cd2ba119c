"""History on Kafka: the same alerts as from files of the same records, in no group, with nothing written."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from tests.host.test_prime import BEGIN, otlp_json

from anomaly.cli import main
from anomaly.config.load import load_specs
from anomaly.config.settings import KafkaSettings, Settings, SourceSettings
from anomaly.detect.detector import Detector
from anomaly.engine import Engine
from anomaly.host.past import Files, Stretch
from anomaly.host.past_topics import Topics
from anomaly.host.replay import walk
from anomaly.host.state_folder import StateFolder
from anomaly.host.statelog import put

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

MakeTopic = Callable[..., Awaitable[str]]
SERVICES = ("web", "checkout", "payment")
SPECS = load_specs()
N, STEP = 1500, 10  # points of each service, seconds between them


def story() -> list[tuple[int, int, bytes]]:
    """(partition, ms, body) in the order of time; `payment` jumps for a hundred points."""
    told = []
    for p, service in enumerate(SERVICES):
        values = np.random.default_rng(p).normal(50.0, 2.0, N).round(2)
        values[1200:1300] += 80.0 * (service == "payment")
        told += [(p % 2, (BEGIN + i * STEP) * 1000, otlp_json(i * STEP, v, service).encode()) for i, v in enumerate(values)]
    return sorted(told, key=lambda each: each[1])


async def fill(bootstrap: str, topic: str) -> None:
    """Each service on one partition, as producers that key by service do."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    try:
        for partition, time, body in story():
            await producer.send(topic, body, partition=partition, timestamp_ms=time)
        await producer.flush()
    finally:
        await producer.stop()


@pytest.fixture
async def filled(bootstrap: str, topic: MakeTopic) -> str:
    name = await topic(2, "history")
    await fill(bootstrap, name)
    return name


def of(bootstrap: str, topic: str, stretch: Stretch = Stretch(), **offsets: int) -> Topics:  # noqa: B008
    return Topics(
        KafkaSettings(bootstrap=[bootstrap]), [SourceSettings(topic=topic, encoding="otlp_json")], stretch, **offsets
    )


def told(past: Topics | Files) -> list[tuple[str, str, str]]:
    """The alerts."""
    return [(a.event.value, a.group, a.time) for a in walk(past, Engine(Settings(), SPECS)).alerts]


async def groups(bootstrap: str) -> set[str]:
    """All consumer groups that brokers know."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        return {name for name, *_ in await admin.list_consumer_groups()}
    finally:
        await admin.close()


async def test_a_topic_gives_the_alerts_that_a_file_of_its_records_gives_and_the_same_again(
    filled: str, bootstrap: str, tmp_path: Path
):
    file = tmp_path / "history.jsonl"
    file.write_bytes(b"\n".join(body for _, _, body in story()))
    before = await groups(bootstrap)
    past = of(bootstrap, filled)
    first = await asyncio.to_thread(told, past)
    assert [(event, group) for event, group, _ in first] == [("trigger", "payment"), ("resolve", "payment")]
    assert first == told(Files([str(file)]))
    assert await asyncio.to_thread(told, past) == first
    assert await groups(bootstrap) == before


async def test_a_stretch_is_of_event_time_and_offsets_are_of_each_partition(filled: str, bootstrap: str):
    at = (BEGIN + 1290 * STEP) * 1000
    late = await asyncio.to_thread(walk, of(bootstrap, filled, Stretch(at)), Engine(Settings(), SPECS))
    assert (late.cases, len(late.before), late.points) == ({}, 1, 3 * N)
    short = await asyncio.to_thread(walk, of(bootstrap, filled, Stretch(at, at + 600_000, 0.0)), Engine(Settings(), SPECS))
    assert short.points == 3 * 60
    some = await asyncio.to_thread(walk, of(bootstrap, filled, first=100, past_last=1000), Engine(Settings(), SPECS))
    assert some.points == 2 * 900


async def test_from_the_command_line_by_the_sources_of_the_configuration(
    filled: str, bootstrap: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    config = tmp_path / "anomaly.yaml"
    config.write_text(f"kafka: {{bootstrap: ['{bootstrap}']}}\nsources: [{{topic: {filled}, encoding: otlp_json}}]\n")
    assert await asyncio.to_thread(main, ["replay", "--config", str(config), "--json"]) == 0
    *alerts, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [a["event"] for a in alerts] == ["trigger", "resolve"]
    assert last["summary"]["points"] == 3 * N
    command = ["explain", "--config", str(config), "--topic", filled, "--series", "payment", "--at", "2023-11-15T01:35"]
    assert await asyncio.to_thread(main, command) == 0
    assert "payment: queue.length" in capsys.readouterr().out
    assert await asyncio.to_thread(main, ["replay", "--config", str(config), "--topic", "nowhere", "--encoding", "csv"]) == 3
    assert "nowhere: not on" in capsys.readouterr().err


async def test_what_a_replay_of_a_topic_learned_is_taken_in_before_any_worker_ran(
    filled: str, bootstrap: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """`replay --save-state`, `state import`: every series is known then, and what was replayed is not judged once more."""
    config, state = tmp_path / "anomaly.yaml", tmp_path / "state"
    config.write_text(
        f"kafka: {{bootstrap: ['{bootstrap}'], topics: {{prefix: {filled}, partitions: 2}}}}\n"
        f"sources: [{{topic: {filled}, encoding: otlp_json}}]\n"
    )
    given = ["--config", str(config)]
    assert await asyncio.to_thread(main, ["replay", *given, "--save-state", str(state), "--json"]) == 0
    assert await asyncio.to_thread(main, ["state", "import", str(state), *given]) == 0
    capsys.readouterr()
    assert await asyncio.to_thread(main, ["series", *given, "--json"]) == 0
    known = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sorted(k["series"]["group"] for k in known) == sorted(SERVICES)
    assert {(k["is_warm"], k["is_open"]) for k in known} == {(True, False)}
    detector = Detector(0, SPECS, Settings())
    kept = await StateFolder(state / f"{filled}.points-0").read()
    assert kept is not None
    put(kept, detector)
    assert detector.inputs.next == {(filled, p): 2 * N // (1 + p) for p in (0, 1)}
