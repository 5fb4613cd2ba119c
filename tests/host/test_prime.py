"""A run that begins with what a replay learned is not blind, and knows nothing of what nobody was told."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.host.test_embedded import request

from anomaly.cli import main
from anomaly.config.load import load_specs
from anomaly.config.settings import Checkpoint, KafkaSettings, Settings, SourceSettings, Topics
from anomaly.decode.records import Records
from anomaly.detect.detector import Detector
from anomaly.dispatch.alert import Alert
from anomaly.engine import Engine
from anomaly.host.embedded import Together
from anomaly.host.past import Files
from anomaly.host.replay import Config, Output, replay
from anomaly.host.state_folder import StateFolder
from anomaly.host.statelog import Found, put

BEGIN = 1_700_000_000  # seconds, as in `request`
DAY, STEP = 86_400, 10  # seconds
OTLP = SourceSettings(topic="otlp", encoding="otlp_proto")
SPECS = load_specs()


def otlp_json(second: int, value: float, service: str = "worker") -> str:
    """The same point as `test_embedded.request`, as a line of a file."""
    point = {"timeUnixNano": str((BEGIN + second) * 10**9), "asDouble": value}
    metric = {"name": "queue.length", "unit": "{job}", "gauge": {"dataPoints": [point]}}
    named = {"key": "service.name", "value": {"stringValue": service}}
    resource = {"resource": {"attributes": [named]}, "scopeMetrics": [{"metrics": [metric]}]}
    return json.dumps({"resourceMetrics": [resource]})


def day(values: Sequence[float], service: str = "worker") -> list[str]:
    """A value every STEP seconds."""
    return [otlp_json(i * STEP, v, service) for i, v in enumerate(values)]


def calm(n: int = DAY // STEP, seed: int = 1) -> list[float]:
    return [round(v, 2) for v in np.random.default_rng(seed).normal(50.0, 2.0, n).tolist()]


def primed(folder: Path, lines: Sequence[str], settings: Settings = Settings()) -> Path:  # noqa: B008
    """The state after a replay of these lines."""
    history, state = folder / "history.jsonl", folder / "state"
    history.write_text("\n".join(lines))
    output = Output(json=True, save_state=str(state))
    assert replay(Files([str(history)]), Config(settings, SPECS), output) == 0
    return state


def kept(state: Path) -> Found | None:
    """What is in a directory."""
    return asyncio.run(StateFolder(state).read())


def restored(state: Path) -> Engine:
    """An engine that begins with it, as `anomaly run` does."""
    engine = Engine(Settings(), SPECS)
    found = kept(state)
    assert found is not None
    put(found, Together(engine))
    return engine


def live(engine: Engine, after: int, values: Sequence[float]) -> list[Alert]:
    """What senders bring from `after` seconds on, and what is alerted."""
    alerts = []
    for i, value in enumerate(values):
        blocks, _ = engine.decode(OTLP, Records.of([request(after + i * STEP, value)], OTLP.topic))
        for _, block in blocks:
            block.offset = block.next_offset = 0
        alerts += [alert for _, alert in engine.judge(blocks) if alert]
    return alerts


def test_a_fault_in_the_first_minute_is_found_by_a_run_primed_from_a_day_and_by_no_other(tmp_path: Path):
    fault = [*calm(1, 2), *[95.0] * 5]
    engine = restored(primed(tmp_path, day(calm())))
    assert [a.event.value for a in live(engine, DAY, fault)] == ["trigger"]
    assert live(Engine(Settings(), SPECS), DAY, fault) == []


@pytest.mark.parametrize("days", [0.1, 10.0])
def test_what_was_learned_is_kept_however_long_ago_the_history_ended(tmp_path: Path, days: float):
    """A series idle for a day is forgotten, but not before it could speak."""
    engine = restored(primed(tmp_path, [*day(calm()), *day(calm(seed=4), "other")]))
    after = DAY + round(days * DAY)
    assert [a.event.value for a in live(engine, after, [*calm(1, 2), *[95.0] * 5])] == ["trigger"]
    assert engine.detector(0).series == 2
    live(engine, after + 2 * 3600, calm(2, 3))
    assert engine.detector(0).series == (2 if days < 1 else 1)


def test_a_trouble_that_was_open_when_the_history_ended_is_told_if_it_lasts_and_else_not_spoken_of(tmp_path: Path):
    ill = calm()
    ill[-60:] = [95.0] * 60
    state = primed(tmp_path, day(ill))
    together = Together(engine := restored(state))
    assert (together.firing, engine.correlator(0).open_incidents, engine.detector(0).report.open) == ({}, [], {})
    assert [a.event.value for a in live(engine, DAY, [95.0] * 10)] == ["trigger"]
    assert live(restored(state), DAY, calm(300, 5)) == []


def test_a_primed_state_is_a_checkpoint_like_any_other(tmp_path: Path):
    """Whoever begins with it knows the same, to the bit, and goes on writing checkpoints behind it."""
    engine = restored(primed(tmp_path, day(calm(2000))))
    before = engine.detector(0).digest()
    other = restored(tmp_path / "state").detector(0)
    assert other.digest() == before
    live(engine, DAY, calm(20, 6))
    snapshot = engine.detector(0).gather(2)
    other.put(2, snapshot.parts, engine.detector(0).layouts())
    other.settle(snapshot.rest)
    assert other.digest() == engine.detector(0).digest() != before


def test_nothing_that_is_there_is_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    state = primed(tmp_path, day(calm(100)))
    history = str(tmp_path / "history.jsonl")
    assert replay(Files([history]), Config(Settings(), SPECS), Output(save_state=str(state))) == 1
    assert "name a new or an empty directory" in capsys.readouterr().err


def test_a_run_begins_with_the_directory_that_a_replay_saved(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """As somebody would do it: `anomaly replay --save-state`, then `anomaly run` with that directory."""
    state = primed(tmp_path, day(calm()))
    minute, alerts, config = tmp_path / "minute.jsonl", tmp_path / "alerts.jsonl", tmp_path / "anomaly.yaml"
    minute.write_text("\n".join(otlp_json(DAY + i * STEP, v) for i, v in enumerate([50.0, 95.0, 95.0, 95.0, 95.0, 95.0])))
    config.write_text(
        f"checkpoint: {{directory: {state}}}\nhealth: {{listen: '127.0.0.1:0'}}\nblind: {{lag: 36500d}}\n"
        f"receivers: [{{name: f, file: {{path: {alerts}}}}}]\nroutes: {{receiver: f}}\n"
    )
    assert main(["run", "--config", str(config), "--input", str(minute), "--log", "error"]) == 0
    assert [json.loads(line)["event"] for line in alerts.read_text().splitlines()] == ["trigger"]


def test_for_kafka_there_is_a_directory_for_each_partition_and_every_series_is_in_one(tmp_path: Path):
    kafka = KafkaSettings(bootstrap=["nowhere:1"], topics=Topics(partitions=3))
    settings = Settings(kafka=kafka, sources=[msgspec.structs.replace(OTLP, topic="otlp_metrics")], checkpoint=Checkpoint())
    lines = [line for s in range(8) for line in day(calm(200, s), f"service-{s}")]
    state = primed(tmp_path, lines, settings)
    assert sorted(path.name for path in state.iterdir()) == [f"anomaly.points-{p}" for p in range(3)]
    detectors = []
    for p in range(3):
        found = kept(state / f"anomaly.points-{p}")
        assert found is not None
        assert found.manifest.next_offset == 0
        detectors.append(Detector(p, SPECS, settings))
        put(found, detectors[-1])
    assert sum(d.series for d in detectors) == 8
    assert all(d.series for d in detectors)
