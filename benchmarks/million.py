"""A million series on one worker: how fast, how large, how soon back after a kill, how late an alert comes.

A real broker and a real `anomaly run`, all stages in the one process, on a source that is keyed by group: 1,000 services
of 998 gauges, a counter of requests and one of failed requests each, 1,000 points an OTLP request, every ten seconds of
data time. In order:

register  one round is written to the topic; the worker is started and reads it: new series per second of wall time
fill      the worker is stopped, ROUNDS rounds are written, and it is started again: points judged per second of wall and of
          CPU time, memory. Kafka hands out one partition after the other, so with new series among them this would say
          how fast those are registered
pace      RATE points a second in real time; one service in ten seconds' time fails half of its requests for one round. An
          alert is late by what lies between producing the request that completes the evidence and its trigger on the
          alerts topic
kill      the worker is killed and started at once, the pace goes on: until points are judged again
"""

import argparse
import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import numpy as np  # noqa: E402
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition  # noqa: E402
from aiokafka.admin import AIOKafkaAdminClient, NewTopic  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest  # noqa: E402
from prometheus_client.parser import text_string_to_metric_families  # noqa: E402
from tests.host import broker as kafka  # noqa: E402

from anomaly.detect.judge import Judge  # noqa: E402

ABSENT, PARTITIONS, SIZE, STEP = 3, 16, 1_000, 10
WRITTEN = "anomaly_checkpoint_bytes_total"
MARK, NUMBER = b"\xa7time-at", b"\xa7value-a"
SERVED, FAILED = 100, 50  # requests a round, failed ones of them in a bad one
ALERTS = 4  # partitions of our own topics

CONFIG = """\
kafka:
  bootstrap: ["{bootstrap}"]
  application: {name}
  instance: worker
  topics: {{prefix: {name}, partitions: {partitions}}}
sources:
  - {{topic: {name}, encoding: otlp_proto{keyed}}}
limits: {{series: 2_000_000}}
shadow: off
blind: {{lag: 100000d, no_input: 1d}}
health: {{listen: "127.0.0.1:{port}"}}
receivers:
  - {{name: file, file: {{path: "{folder}/alerts.jsonl"}}, at_least: info}}
"""


Measure = Callable[[str, argparse.Namespace], Coroutine[Any, Any, dict[str, Any]]]


class Service:
    """The request of one service, with the places of its times and values: building each anew would take minutes."""

    def __init__(self, number: int, size: int = SIZE, environment: str = "") -> None:
        self.number, self.size, self.name, self.served, self.failed = number, size, f"service-{number:04d}", 0, 0
        raw = template(self.name, size, environment)
        self.request = np.frombuffer(raw, np.uint8).copy()
        self.times, self.values = places(raw, MARK, size), places(raw, NUMBER, size)

    def export(self, second: float, failing: bool) -> bytes:
        """What it has to say at a second since the epoch."""
        self.failed += FAILED if failing else 0
        self.served += SERVED - (FAILED if failing else 0)
        noise = (np.arange(self.size) * 7919 + int(second) * 31 + self.number * 17) % 1000 / 10.0
        noise[-2:] = self.served, self.failed
        self.request[self.times] = np.frombuffer((int(second * 1000) * 10**6).to_bytes(8, "little"), np.uint8)
        self.request[self.values] = noise.view(np.uint8).reshape(self.size, 8)
        return self.request.tobytes()


def template(name: str, size: int, environment: str) -> bytes:
    """A request with marks where times and values stand."""
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    resource.resource.attributes.add(key="service.name").value.string_value = name
    if environment:
        resource.resource.attributes.add(key="deployment.environment.name").value.string_value = environment
    metrics = resource.scope_metrics.add().metrics
    mark, value = int.from_bytes(MARK, "little"), float(np.frombuffer(NUMBER, np.float64)[0])
    depth = metrics.add(name="queue.depth", unit="{message}")
    for i in range(size - 2):
        point = depth.gauge.data_points.add(time_unix_nano=mark, as_double=value)
        point.attributes.add(key="queue").value.string_value = f"queue-{i:03d}"
    requests = metrics.add(name="http_requests_total").sum
    requests.is_monotonic, requests.aggregation_temporality = True, 2
    for code in ("200", "500"):
        point = requests.data_points.add(time_unix_nano=mark, as_double=value)
        point.attributes.add(key="code").value.string_value = code
    return request.SerializeToString()


def places(raw: bytes, mark: bytes, size: int) -> NDArray[np.int64]:
    """Where eight bytes stand, (size, 8)."""
    at = np.array([found.start() for found in re.finditer(re.escape(mark), raw)])
    assert at.size == size
    return at[:, None] + np.arange(8)


class Feeder:
    """Writes rounds of all services. `due` has, by service, when the request that completes its evidence was produced."""

    def __init__(self, bootstrap: str, topic: str, services: int) -> None:
        self.bootstrap, self.topic = bootstrap, topic
        self.services = [Service(i) for i in range(services)]
        self.due: dict[str, float] = {}
        self.points = 0
        self._producer: AIOKafkaProducer | None = None

    async def __aenter__(self) -> "Feeder":
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap, compression_type="lz4", max_request_size=4 << 20, linger_ms=0
        )
        await self._producer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._producer
        await self._producer.stop()

    async def round(self, second: int, failing: frozenset[int], seconds: float = 0.0) -> None:
        """One export of every service, spread evenly over so many seconds; 0: as fast as it goes."""
        assert self._producer
        began = time.perf_counter()
        for i, service in enumerate(self.services):
            wait = began + seconds * i / len(self.services) - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            value = service.export(second, i in failing)
            if i in failing:
                self.due[service.name] = time.time()
            sent = await self._producer.send(self.topic, value, partition=i % PARTITIONS, timestamp_ms=second * 1000)
            self.points += SIZE
        await sent
        if not seconds:
            await self._producer.flush()


class Worker:
    """`anomaly run`."""

    def __init__(self, bootstrap: str, name: str, folder: Path, keyed: bool) -> None:
        self.folder, self.port, self.log = folder, kafka.free_port(), folder / "worker.log"
        self.config = folder / "anomaly.yaml"
        said = {"keyed": ", keyed: group" if keyed else "", "port": self.port, "partitions": ALERTS, "folder": folder}
        self.config.write_text(CONFIG.format(bootstrap=bootstrap, name=name, **said))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin, or begin again."""
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "anomaly", "run", "--config", str(self.config)]
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env=os.environ | {"PYTHONPATH": str(ROOT / "src")}
            )

    def kill(self) -> None:
        """As the kernel would."""
        assert self.process
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def metrics(self) -> dict[str, float]:
        """Sums of its metrics by name; nothing while it does not answer."""
        assert self.process
        if self.process.poll() is not None:
            raise RuntimeError(f"the worker ended:\n{self.log.read_text()[-3000:]}")
        with suppress(OSError):
            text = urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5).read().decode()
            found: dict[str, float] = {}
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    found[sample.name] = found.get(sample.name, 0.0) + sample.value
            return found
        return {}

    def stop(self) -> None:
        """As an orchestrator would."""
        assert self.process
        self.process.terminate()
        self.process.wait()

    def judged(self) -> float:
        """Points that have their outcome."""
        return self.metrics().get("anomaly_points_total", 0.0)

    def cpu(self) -> float:
        """CPU seconds so far."""
        assert self.process
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> tuple[int, int]:
        """Bytes resident now, and at most so far."""
        assert self.process
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        now, most = (int(re.findall(rf"{name}:\s+(\d+)", text)[0]) << 10 for name in ("VmRSS", "VmHWM"))
        return now, most


class Reading(NamedTuple):
    """When so many points had been judged, and what that had cost."""

    wall: float
    cpu: float
    points: float
    rss: int


def readings(worker: Worker, until: float, every: float = 0.25) -> list[Reading]:
    """Read until so many points are judged."""
    found: list[Reading] = []
    while not found or found[-1].points < until:
        points = worker.judged()
        found.append(Reading(time.perf_counter(), worker.cpu(), points, worker.memory()[0]))
        time.sleep(every)
    return found


def speed(found: list[Reading], low: float, high: float) -> tuple[float, float]:
    """Points a second of wall and of CPU time, between two counts of points."""
    within = [r for r in found if low <= r.points <= high]
    a, b = within[0], within[-1]
    return (b.points - a.points) / (b.wall - a.wall), (b.points - a.points) / (b.cpu - a.cpu)


async def triggers(bootstrap: str, topic: str, arrived: dict[str, float], stop: asyncio.Event) -> None:
    """When the trigger of each group came."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, fetch_max_wait_ms=50)
    await consumer.start()
    places_ = [TopicPartition(topic, p) for p in range(ALERTS)]
    consumer.assign(places_)
    await consumer.seek_to_end(*places_)
    while not stop.is_set():
        for records in (await consumer.getmany(timeout_ms=20)).values():
            now = time.time()
            for alert in (json.loads(r.value) for r in records):
                if alert["event"] == "trigger":
                    arrived.setdefault(alert["group"], now)
    await consumer.stop()


async def pace(feeder: Feeder, worker: Worker, name: str, rounds: int, rate: int, second: int) -> dict[str, float]:
    """The paced part, its latencies; and the kill in the middle of as many rounds more."""
    arrived: dict[str, float] = {}
    stop = asyncio.Event()
    listening = asyncio.create_task(triggers(feeder.bootstrap, f"{name}.alerts", arrived, stop))
    n, seconds = len(feeder.services), len(feeder.services) * SIZE / rate
    each = max(n // (2 * rounds), 1)  # services that fail in a round; each fails once
    used, wrote, began = worker.cpu(), worker.metrics().get(WRITTEN, 0.0), time.perf_counter()
    for k in range(rounds):
        await feeder.round(second + STEP * k, frozenset(range(k * each, (k + 1) * each)), seconds)
    took = time.perf_counter() - began
    result = {"paced_cpu": (worker.cpu() - used) / took}  # of a core
    result["checkpoint_bytes_per_s"] = (worker.metrics().get(WRITTEN, 0.0) - wrote) / took
    await asyncio.sleep(2.0)
    stop.set()
    await listening
    late = np.array([arrived[g] - due for g, due in feeder.due.items() if g in arrived])
    result |= {"samples": float(late.size), "missed": float(len(feeder.due) - late.size)}
    if late.size:
        result |= {f"p{q}_s": float(np.percentile(late, q)) for q in (50, 99)}
    kept = worker.metrics().get("anomaly_state_bytes", 0.0)
    result["kept_bytes_per_series"] = kept / (len(feeder.services) * SIZE)  # as compressed in the state topics
    going_on = asyncio.create_task(feeder.round(second + STEP * rounds, frozenset(), max(2.0 * seconds, 20.0)))
    await asyncio.sleep(3.0)
    worker.kill()
    began = time.perf_counter()
    worker.start()
    while not await asyncio.to_thread(worker.judged):
        await asyncio.sleep(0.02)
    result["restart_s"] = time.perf_counter() - began
    await going_on
    return result


async def make_topic(bootstrap: str, name: str) -> None:
    """A source."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(name, PARTITIONS, 1, topic_configs={"retention.ms": "-1"})])
    await admin.close()
    await asyncio.sleep(2.0)  # until its partitions have their leaders


async def measure(bootstrap: str, args: argparse.Namespace) -> dict[str, Any]:
    """All of it; prints as it goes."""
    name, services = f"million-{uuid4().hex[:6]}", args.series // SIZE
    await make_topic(bootstrap, name)
    begin = int(time.time()) // STEP * STEP - STEP * args.rounds
    with tempfile.TemporaryDirectory(prefix="anomaly-million-") as folder:
        worker = Worker(bootstrap, name, Path(folder), not args.two_stages)
        async with Feeder(bootstrap, name, services) as feeder:
            await feeder.round(begin - STEP, frozenset())
            worker.start()
            result = registered(await asyncio.to_thread(readings, worker, float(feeder.points)), services * SIZE)
            empty = result.pop("empty")
            worker.stop()
            for k in range(args.rounds):
                await feeder.round(begin + STEP * k, frozenset())
            say(f"{feeder.points:,} points of {services * SIZE:,} series are in the topic")
            worker.start()
            found = await asyncio.to_thread(readings, worker, float(args.rounds * services * SIZE))
            result |= fill_result(found, services * SIZE, worker, empty)
            if args.rate:
                result |= await pace(feeder, worker, name, args.paced, args.rate, begin + STEP * args.rounds)
                say(
                    f"paced at {args.rate:,} points/s: "
                    + ", ".join(f"{k} {v:.3g}" for k, v in result.items() if k[0] in "psmr")
                )
        worker.kill()
    return result


def registered(found: list[Reading], series: int) -> dict[str, Any]:
    """What the first round says, and how large a worker is that knows nobody."""
    began, empty = max((r.wall, r.rss) for r in found if r.points == 0)
    result = {"series": series, "registered_per_s": series / (found[-1].wall - began), "empty": empty}
    say(f"registered {result['registered_per_s']:,.0f} series/s")
    return result


def fill_result(found: list[Reading], series: int, worker: Worker, empty: int) -> dict[str, Any]:
    """What the backlog says."""
    total = found[-1].points
    wall, cpu = speed(found, 0.05 * total, 0.99 * total)
    now, most = worker.memory()
    result: dict[str, Any] = {
        "points_per_s": wall, "points_per_cpu_s": cpu,
        "rss_bytes": now, "peak_rss_bytes": most, "total_bytes_per_series": (now - empty) / series,
        "state_bytes_per_series": sum(column.itemsize for column in Judge(()).columns().values()),
    }  # fmt: skip
    say(f"judged {wall:,.0f} points/s, {cpu:,.0f} a CPU second")
    say(f"resident {now / 1e9:.2f} GB (at most {most / 1e9:.2f}), {result['total_bytes_per_series']:.0f} bytes a series")
    return result


def say(text: str) -> None:
    """A line as it becomes known."""
    print(text, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="the figures as the last line")
    parser.add_argument("--series", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=12, help="rounds in the backlog")
    parser.add_argument("--rate", type=int, default=100_000, help="points a second of the paced part; 0 leaves it out")
    parser.add_argument("--paced", type=int, default=8, help="rounds of the paced part")
    parser.add_argument("--two-stages", action="store_true", help="with anomaly.points between decode and detect")
    return measured(measure, parser.parse_args())


def measured(measure: Measure, args: argparse.Namespace) -> int:
    """Measure with a broker, and print the result if asked to; the exit code."""
    try:
        with kafka.broker() as bootstrap:
            result = asyncio.run(measure(bootstrap, args))
    except kafka.Missing as missing:
        print(missing, file=sys.stderr)
        return ABSENT
    if args.json:
        print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
