"""Commands on their way: by the stage that copies them, by HTTP, and by the command line over a real broker."""

import asyncio
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from aiohttp.test_utils import TestClient, TestServer
from aiokafka import AIOKafkaProducer
from tests.command.orders import expire, plan, promote, silence
from tests.host.shop import telemetry
from tests.host.test_stages import NAMES, PARTITIONS, Kept, fetched, wiring
from tests.host.test_worker import BEGIN, MakeTopic, Worker, play

from anomaly.cli import main
from anomaly.command.command import Command, Silence, encode, read
from anomaly.config.load import load_specs
from anomaly.config.settings import KafkaSettings, Settings
from anomaly.correlate.correlator import Memory
from anomaly.engine import Engine
from anomaly.host import compacted, wire_commands
from anomaly.host.command_sending import PATH
from anomaly.host.inprocess import InProcess
from anomaly.host.otlp_http import receiver
from anomaly.host.stages import DetectStage
from anomaly.host.stages_alerts import CorrelateStage, remembered
from anomaly.host.stages_commands import CommandStage

MUTE = silence('group="shop/web"', start=0, end=100)
GIVEN: list[Command] = [MUTE, plan("metric=m", factor=8, start=0, end=9), promote("prod", 1), expire(50)]


@pytest.fixture(autouse=True)
def _no_topics(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no broker is asked for there is none to read."""

    async def nothing(kafka: KafkaSettings, topic: str, partitions: range) -> dict[int, dict[bytes, bytes]]:
        return {p: {} for p in partitions}

    if not request.node.get_closest_marker("kafka"):
        monkeypatch.setattr(compacted, "read", nothing)


async def test_a_command_is_copied_to_every_partition_that_follows_it():
    """To correlate all of them, to detect what is about learning; what is no command is set aside, a deletion is none."""
    wired = wiring()
    outputs = wired.outputs
    assert isinstance(outputs, Kept)
    texts = [*map(encode, GIVEN), b'{"kind": "silence"}', b""]
    assert await CommandStage(wired).take(fetched(NAMES.commands, 0, 0, texts, 0)) == len(GIVEN)

    for partition in range(PARTITIONS):
        copies = [msgspec.json.decode(text)["command"]["id"] for text in outputs.by_topic[NAMES.anomalies][partition]]
        assert copies == ["s", "p", "team:prod", "s"]
        told = [wire_commands.command_in(record) for record in outputs.by_topic[NAMES.points][partition]]
        assert told == [GIVEN[0], GIVEN[1], GIVEN[3]]
    (dead,) = outputs.by_topic[NAMES.dead].values()
    assert dead == [b'{"kind": "silence"}']
    assert wired.health.registry.get_sample_value("anomaly_rejects_total", {"reason": "bad_command"}) == 1.0


async def test_the_stages_behind_follow_it_and_keep_it():
    """Detect among its blocks, correlate among its events; what correlate kept before there were commands is read."""
    wired = wiring()
    assert isinstance(wired.outputs, Kept)
    await CommandStage(wired).take(fetched(NAMES.commands, 0, 0, [encode(MUTE)], 0))
    blocks, events = (wired.outputs.by_topic[topic][1] for topic in (NAMES.points, NAMES.anomalies))
    detect, correlate = DetectStage(wired), CorrelateStage(wired)
    await detect.take(fetched(NAMES.points, 1, 0, [*blocks, b"APC\x09{}"], 0))
    await correlate.take(fetched(NAMES.anomalies, 1, 0, events, 0))
    assert len(wired.engine.detector(1).windows) == 1
    assert wired.engine.commands(1).all() == [MUTE]
    assert [list(v) for v in wired.outputs.by_topic[NAMES.dead].values()] == [[b"APC\x09{}"]]

    kept = remembered(correlate._dump(1))
    old = msgspec.msgpack.encode(
        {k: v for k, v in msgspec.to_builtins(kept, builtin_types=(bytes,)).items() if k != "commands"}
    )
    assert kept.commands
    assert (remembered(old).commands, remembered(old).memory) == (b"", Memory([], [], {}, 0))


async def test_without_kafka_commands_come_by_http():
    """Beside OTLP: followed at once, shown, refused with the reason; only what says that it is JSON."""
    engine = Engine(Settings(), load_specs([]))

    async def nobody(alert: object) -> None:
        raise AssertionError(alert)

    running = InProcess(engine, nobody)
    async with TestClient(TestServer(receiver(running, 1 << 20, running))) as client:
        headers = {"Content-Type": "application/json"}
        assert (await client.post(PATH, data=encode(MUTE), headers=headers)).status == 200
        assert (await client.post(PATH, data=encode(MUTE), headers={"Content-Type": "text/plain"})).status == 415
        refused = await client.post(PATH, data=b'{"kind": "silence"}', headers=headers)
        assert (refused.status, "id" in await refused.text()) == (400, True)
        shown = msgspec.json.decode(await (await client.get(PATH)).read(), type=list[msgspec.Raw])
    assert [read(bytes(one)) for one in shown] == [MUTE] == engine.commands(0).all()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["silence", "add", "group=", "--comment", "x"], "fits nothing"),
        (["silence", "add", "group=~(", "--comment", "x"], "no regular expression"),
        (["silence", "add", "group=a", "--comment", "x", "--start", "2026-01-02", "--end", "2026-01-01"], "ends_at"),
        (["plan", "add", "group=a", "--comment", "x", "--factor", "0"], "--factor"),
        (["silence", "add", "group=a", "--comment", "x", "--set", "otlp.listen=127.0.0.1:1"], "nobody listens"),
        (["promote", "prod", "--yes"], "Kafka"),
        (["promote", "a b", "--yes"], "team"),
    ],
)  # fmt: skip
def test_what_cannot_be_followed_is_said_at_the_terminal(arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]):
    assert main(arguments) in (1, 2)
    assert why in capsys.readouterr().err


def test_learning_from_a_source_keyed_by_group_cannot_be_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A known limit, said before anybody relies on it."""
    config = tmp_path / "anomaly.yaml"
    config.write_text(
        "kafka: {bootstrap: ['127.0.0.1:1']}\nsources: [{topic: t, encoding: otlp_proto, keyed: group}]\n"
        "receivers: [{name: x, stdout: {}}]\n"
    )
    assert main(["silence", "add", "group=a", "--comment", "x", "--config", str(config)]) == 2
    assert "--stop output" in capsys.readouterr().err


ILL, MUTED, LAST = 200, (195, 260), 345  # seconds of the story: from when on, between which, and its end


@pytest.mark.kafka
@pytest.mark.timeout(300)
async def test_a_silence_from_the_command_line_mutes_survives_a_kill_and_its_end_tells(
    bootstrap: str, topic: MakeTopic, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    worker = Worker(bootstrap, await topic(2, name="otlp"), "consumer", tmp_path)
    worker.start()
    try:
        await worker.until(worker.ready, "ready")
        story = list(telemetry(BEGIN, LAST, ILL, LAST))
        begin, end = (datetime.fromtimestamp(BEGIN + second, UTC).isoformat() for second in MUTED)
        window = ["--start", begin, "--end", end, "--stop", "output"]
        matchers = ['group=~"shop/pay.*"', "environment=prod"]
        assert await ran("silence", "add", *matchers, *window, "--comment", "upgrade", config=worker.config) == 0
        name = capsys.readouterr().out.strip()
        assert await ran("silence", "query", "--expired", "--json", config=worker.config) == 0
        shown = read(capsys.readouterr().out.strip().encode())
        assert isinstance(shown, Silence)
        assert (shown.id, shown.comment, shown.stops.value) == (name, "upgrade", "output")
        async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
            await producer.send_and_wait(f"{worker.prefix}.commands", b"no command", b"x")

        await play(worker, [s for s in story if s[0] // 1000 < BEGIN + 240])
        await worker.until(lambda: has_committed(worker, 240 * 3), "half of it worked off")
        await worker.until(lambda: has_incidents(worker), "the incident is known, and not told")
        assert worker.sent() == []
        worker.end(signal.SIGKILL)
        worker.start()
        await play(worker, [s for s in story if s[0] // 1000 >= BEGIN + 240])
        await worker.until(lambda: told(worker, lambda alerts: bool(alerts)), "told")

        (alert,) = await worker.alerts("trigger")
        second = datetime.fromisoformat(alert["time"]).timestamp() - BEGIN
        assert MUTED[1] + 60 <= second <= LAST
        assert (alert["group"], alert["severity"]) == ("shop/payment", "critical")
        assert [record.value for record in await worker.read("dead")] == [b"no command"]
        assert await ran("promote", "prod", "--yes", config=worker.config) == 0
        assert "would have paged 0 times" in capsys.readouterr().out
        assert worker.end(signal.SIGTERM) == 0
    finally:
        if worker.alive():
            worker.end(signal.SIGKILL)


async def ran(*arguments: str, config: Path) -> int:
    """A command of ours, as somebody gives it at a terminal."""
    return await asyncio.to_thread(main, [*arguments, "--config", str(config)])


async def has_committed(worker: Worker, records: int) -> bool:
    return await worker.committed() >= records


async def has_incidents(worker: Worker) -> bool:
    found = [msgspec.json.decode(r.value)["incident"]["told"] for r in await worker.read("incidents") if r.value]
    return any(each["silenced"] for each in found)


async def told(worker: Worker, holds: Callable[[list[object]], bool]) -> bool:
    return holds(await worker.alerts("trigger"))
