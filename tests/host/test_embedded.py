"""`anomaly run` without Kafka, as a real process: OTLP in, alerts in a file, health beside it, and a clean stop."""

import asyncio
import json
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from aiohttp import ClientError, ClientSession
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

PROTOBUF = {"Content-Type": "application/x-protobuf"}
BEGIN = 1_700_000_000  # seconds
CONFIG = """
otlp: {{listen: "127.0.0.1:{otlp}"}}
health: {{listen: "127.0.0.1:{health}"}}
receivers: [{{name: log, file: {{path: {alerts}}}}}]
routes: {{receiver: log}}
blind: {{lag: 36500d, no_input: 1d}}
"""


def free_ports(n: int) -> list[int]:
    """Ports that nobody listens on, now."""
    sockets = [socket.socket() for _ in range(n)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def request(second: int, value: float) -> bytes:
    """A request of one gauge point."""
    point = {"time_unix_nano": (BEGIN + second) * 10**9, "as_double": value}
    service = {"key": "service.name", "value": {"string_value": "worker"}}
    metrics = [{"name": "queue.length", "unit": "{job}", "gauge": {"data_points": [point]}}]
    resource = {"resource": {"attributes": [service]}, "scope_metrics": [{"metrics": metrics}]}
    return ExportMetricsServiceRequest(resource_metrics=[resource]).SerializeToString()


class Running:
    """The process, the addresses it serves, and where its alerts are written."""

    def __init__(self, process: Process, otlp: int, health: int, alerts: Path) -> None:
        self.process, self.alerts = process, alerts
        self.otlp, self.health = f"http://127.0.0.1:{otlp}/v1/metrics", f"http://127.0.0.1:{health}"

    async def get(self, session: ClientSession, path: str) -> tuple[int, str]:
        async with session.get(self.health + path) as answer:
            return answer.status, await answer.text()

    async def ready(self, session: ClientSession) -> None:
        """Wait until it says so; kernels may have to be compiled before."""
        for _ in range(1200):
            assert self.process.returncode is None, (await self.process.communicate())[1].decode()
            with suppress(ClientError):
                if (await self.get(session, "/readyz"))[0] == 200:
                    return
            await asyncio.sleep(0.1)
        raise TimeoutError(await self.get(session, "/readyz"))

    def told(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.alerts.read_text().splitlines()] if self.alerts.exists() else []

    async def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), 20)


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    otlp, health = free_ports(2)
    config, alerts = tmp_path / "anomaly.yaml", tmp_path / "alerts.jsonl"
    config.write_text(CONFIG.format(otlp=otlp, health=health, alerts=alerts))
    command = (sys.executable, "-m", "anomaly", "run", "--config", str(config))
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE, env=os.environ)
    yield Running(process, otlp, health, alerts)
    if process.returncode is None:
        process.kill()
        await process.communicate()


async def test_points_over_http_become_one_trigger_and_one_resolve_in_the_receiver(running: Running):
    values = np.random.default_rng(1).normal(50.0, 2.0, 1200).round(2)
    values[700:800] += 60.0
    async with ClientSession() as session:
        await running.ready(session)
        for second, value in enumerate(values.tolist()):
            async with session.post(running.otlp, data=request(second, value), headers=PROTOBUF) as answer:
                assert answer.status == 200
        metrics = (await running.get(session, "/metrics"))[1]
    assert await running.stop() == 0
    told = running.told()
    assert [(a["event"], a["group"]) for a in told] == [("trigger", "worker"), ("resolve", "worker")]
    assert told[0]["dedup_key"] == told[1]["dedup_key"]
    assert 'anomaly_records_total{source="otlp"} 1200.0' in metrics
    scored = sum(float(line.split()[-1]) for line in metrics.splitlines() if line.startswith("anomaly_points_total{"))
    assert scored == 1200


async def test_a_sender_hears_which_points_were_set_aside_and_what_cannot_be_read_at_all(running: Running):
    far = 4_000_000_000 - BEGIN
    async with ClientSession() as session:
        await running.ready(session)
        async with session.post(running.otlp, data=request(far, 1.0) + request(0, 1.0), headers=PROTOBUF) as answer:
            partial = ExportMetricsServiceResponse.FromString(await answer.read()).partial_success
            assert (answer.status, partial.rejected_data_points) == (200, 1)
            assert "future_timestamp" in partial.error_message
        async with session.post(running.otlp, data=request(0, 1.0)[:-1], headers=PROTOBUF) as answer:
            assert answer.status == 400
        assert 'anomaly_rejects_total{reason="future_timestamp"} 1.0' in (await running.get(session, "/metrics"))[1]
    assert await running.stop() == 0


async def test_an_address_in_use_stops_the_start_with_the_key_that_names_it(running: Running, tmp_path: Path):
    async with ClientSession() as session:
        await running.ready(session)
    taken = running.otlp.split("/")[2]
    command = (sys.executable, "-m", "anomaly", "run", "--set", f"otlp.listen={taken}", "--set", "health.listen=127.0.0.1:0")
    second = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
    _, said = await asyncio.wait_for(second.communicate(), 60)
    assert second.returncode == 2
    assert "otlp.listen" in said.decode()
    assert taken in said.decode()
    assert await running.stop() == 0


async def test_a_file_is_run_to_its_end_and_its_alerts_are_delivered_before_the_exit(tmp_path: Path):
    values = np.random.default_rng(2).normal(50.0, 2.0, 3000).round(2)
    values[2000:2100] += 60.0
    rows = [f"{(BEGIN + 60 * i) * 1000},{value}" for i, value in enumerate(values)]
    table, config, alerts = tmp_path / "queue.csv", tmp_path / "anomaly.yaml", tmp_path / "alerts.jsonl"
    table.write_text("\n".join(["timestamp,value", *rows]))
    config.write_text(CONFIG.format(otlp=0, health=0, alerts=alerts))
    command = (sys.executable, "-m", "anomaly", "run", "--config", str(config), "--input", str(table))
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
    _, said = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, said.decode()
    assert [json.loads(line)["event"] for line in alerts.read_text().splitlines()] == ["trigger", "resolve"]


async def test_a_restart_goes_on_from_the_directory_neither_triggering_again_nor_learning_anew(tmp_path: Path):
    """Two runs over the halves of a story, cut while the fault lasts: one trigger, one resolve, one dedup_key."""
    values = np.random.default_rng(2).normal(50.0, 2.0, 3000).round(2)
    values[2000:2100] += 60.0
    rows = [f"{(BEGIN + 60 * i) * 1000},{value}" for i, value in enumerate(values)]
    table, config, alerts = tmp_path / "queue.csv", tmp_path / "anomaly.yaml", tmp_path / "alerts.jsonl"
    kept = f"checkpoint: {{directory: {tmp_path / 'state'}}}\n"
    config.write_text(CONFIG.format(otlp=0, health=0, alerts=alerts) + kept)
    for half in (rows[:2050], rows[2050:]):
        table.write_text("\n".join(["timestamp,value", *half]))
        command = (sys.executable, "-m", "anomaly", "run", "--config", str(config), "--input", str(table))
        process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
        _, said = await asyncio.wait_for(process.communicate(), 120)
        assert process.returncode == 0, said.decode()
    told = [json.loads(line) for line in alerts.read_text().splitlines()]
    assert [a["event"] for a in told] == ["trigger", "resolve"]
    assert told[0]["dedup_key"] == told[1]["dedup_key"]
