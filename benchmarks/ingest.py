"""From a filled topic to scored points, side by side in one run.

(a) bare aiokafka: `getmany`, nothing done with the records: the ceiling of an object per record
(b) our worker: block reader, Faust transport, decode and detect in one stage, as for a source that is `keyed: group`
(b2) the same in two stages, as for any other source, through anomaly.points, both in this one process
(b3) its first stage alone: scan, split, write, send
(c) naive.py: a Faust agent with river per event, as a tutorial would write it

for one-point JSON records (prometheus_json, about 200 bytes), OTLP requests of 100 and 1,000 points and remote write
requests of 500 samples, of 12,000 series that nobody knows at the start (to register them is part of what is measured; "new
series" counts them), lz4, over 4 partitions, under all shipped models. Each runs in a process of its own. Our worker is that
of `anomaly run`, with all its stages, checkpoints and outputs. Points per second of wall time, from the assignment of
partitions (a, b) or the first event (c) to the last record; and per second of CPU time, all threads of that process
together: what one core would do that it need not share with the broker. "bytes" is what a point takes on anomaly.points,
announcements of its series included. A value of OTLP is a double that is noise to its last digit, of which nothing can be
saved; those of JSON and remote write have one decimal.
"""

import argparse
import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import numpy as np  # noqa: E402
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition  # noqa: E402
from aiokafka.admin import AIOKafkaAdminClient, NewTopic  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest  # noqa: E402
from tests.host import broker as kafka  # noqa: E402

from anomaly.config.load import load_specs  # noqa: E402
from anomaly.config.settings import Blind, Driver, KafkaSettings, Keyed, Settings, SourceSettings, Topics  # noqa: E402
from anomaly.host.health import Health  # noqa: E402
from anomaly.host.kafka import STAGES, Worker, make_ready  # noqa: E402
from anomaly.host.source import Stage  # noqa: E402
from anomaly.host.telling import Of  # noqa: E402
from anomaly.host.wiring import Wiring  # noqa: E402

ABSENT = 3
PARTITIONS, GROUPS, PER_GROUP, SERVICES = 4, 120, 100, 12
BEGIN = 1_767_225_600  # seconds since the epoch
EVERY = 10  # seconds between the points of a series
NAIVE_RECORDS = 100_000  # as many as it reads in ten seconds
OTLP_POINTS = 2  # for each JSON record
PER_REQUEST = 500  # samples of a remote write request
TRANSPORT_ROUNDS = 3
MARK = b"\xa7time-at"  # stands in a request where the time of a point is to be written


def json_records(n: int, series: int = GROUPS * PER_GROUP) -> Iterator[tuple[int, bytes]]:
    """(partition, record): each series in turn, a point every ten seconds."""
    stamps = [time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(BEGIN + EVERY * i)) for i in range(n // series + 1)]
    labels = [
        f'{{"__name__":"http_requests_in_flight","instance":"10.0.{g}.{i}:9090","job":"service-{g:03d}","path":"/v{i}"}}'
        for g in range(GROUPS)
        for i in range(PER_GROUP)
    ]
    for k in range(n):
        s, value = k % series, (k * 7919 % 1000) / 10
        head = f'{{"timestamp":"{stamps[k // series]}","value":"{value}","name":"http_requests_in_flight"'
        yield s // PER_GROUP % PARTITIONS, f'{head},"labels":{labels[s]}}}'.encode()


def otlp_records(points: int, size: int) -> Iterator[tuple[int, bytes]]:
    """(partition, request of `size` gauge points of one service), a request a service and step in turn."""
    templates = [(g, *otlp_template(g, first, size)) for g in range(SERVICES) for first in range(0, 1000, size)]
    for k in range(-(-points // size)):
        step, which = divmod(k, len(templates))
        g, request, at = templates[which]
        numbers = np.random.default_rng(k).normal(50.0, 5.0, size)
        request[at] = np.frombuffer(((BEGIN + EVERY * step) * 1_000_000_000).to_bytes(8, "little"), np.uint8)
        request[at + 9] = numbers.view(np.uint8).reshape(size, 8)  # a byte of tag between time and value
        yield g % PARTITIONS, request.tobytes()


def write_records(samples: int) -> Iterator[tuple[int, bytes]]:
    """(partition, remote write request): five groups a request, always on the same partition."""
    from benchmarks import decode

    for k, record in enumerate(decode.remote_write_records(samples // PER_REQUEST)):
        yield k % (12_000 // PER_REQUEST) % PARTITIONS, record


def otlp_template(group: int, first: int, size: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """A request, and where the eight bytes of each point's time stand, (size, 8): building each anew would take minutes."""
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    resource.resource.attributes.add(key="service.name").value.string_value = f"service-{group:03d}"
    metric = resource.scope_metrics.add().metrics.add(name="queue.depth", unit="1")
    for i in range(first, first + size):
        point = metric.gauge.data_points.add(time_unix_nano=int.from_bytes(MARK, "little"), as_double=1.0)
        point.attributes.add(key="queue").value.string_value = f"q-{i:04d}"
    raw = request.SerializeToString()
    at = np.array([found.start() for found in re.finditer(re.escape(MARK), raw)])
    assert at.size == size
    return np.frombuffer(raw, np.uint8).copy(), at[:, None] + np.arange(8)


async def fill(bootstrap: str, topic: str, records: Iterator[tuple[int, bytes]]) -> int:
    """Write records in batches of a producer's usual size; returns how many."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    # The records are dated in the past: the broker would delete them as too old when it comes round to look.
    await admin.create_topics([NewTopic(topic, PARTITIONS, 1, topic_configs={"retention.ms": "-1"})])
    await admin.close()
    n = 0
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, compression_type="lz4", max_batch_size=256 << 10) as producer:
        batches = [producer.create_batch() for _ in range(PARTITIONS)]
        for partition, record in records:
            n += 1
            if batches[partition].append(key=None, value=record, timestamp=(BEGIN + 86_400) * 1000) is None:
                await producer.send_batch(batches[partition], topic, partition=partition)
                batches[partition] = producer.create_batch()
                batches[partition].append(key=None, value=record, timestamp=(BEGIN + 86_400) * 1000)
        for partition, batch in enumerate(batches):
            await producer.send_batch(batch, topic, partition=partition)
        await producer.flush()
    return n


async def getmany(bootstrap: str, topic: str, records: int) -> float:
    """(a): records a second."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    consumer.assign([TopicPartition(topic, p) for p in range(PARTITIONS)])
    seen, began = 0, time.perf_counter()
    while seen < records:
        seen += sum(len(found) for found in (await consumer.getmany(timeout_ms=100)).values())
    rate = seen / (time.perf_counter() - began)
    await consumer.stop()
    return rate


class Counted:
    """Points that were judged, and when the first partition came and the last point was done."""

    def __init__(self, wanted: int) -> None:
        self.wanted, self.seen, self.began, self.ended = wanted, 0, 0.0, asyncio.Event()
        self.cpu = 0.0

    def begin(self) -> None:
        """Partitions are there."""
        if not self.began:
            self.began, self.cpu = time.perf_counter(), time.process_time()

    def add(self, n: int) -> None:
        """Points were judged."""
        self.seen += n
        if self.seen >= self.wanted and not self.ended.is_set():
            self.took, self.cpu = time.perf_counter() - self.began, time.process_time() - self.cpu
            self.ended.set()


async def worker(bootstrap: str, topic: str, encoding: str, points: int, driver: str, stages: int) -> dict[str, float]:
    """(b), (b2) and, as no stages, (b3): points a second of `anomaly run`, its checkpoints, incidents and alerts on."""
    make_ready(Health())
    source = SourceSettings(topic=topic, encoding=encoding, keyed=Keyed.GROUP if stages == 1 else None)
    plan = Topics(prefix=f"bench-{uuid4().hex[:8]}", partitions=PARTITIONS)
    brokers = KafkaSettings(bootstrap=[bootstrap], topics=plan, application=plan.prefix, driver=Driver(driver))
    settings = Settings(kafka=brokers, sources=[source], blind=Blind(lag=1e12))  # what is read is old
    measured = Measured(settings, ("decode",) if stages == 0 else STAGES, Counted(points))
    running, ended = asyncio.create_task(measured.run()), asyncio.create_task(measured.counted.ended.wait())
    await asyncio.wait([running, ended], return_when=asyncio.FIRST_COMPLETED)
    found = measured.found(topic if stages == 1 else "")
    measured._stop.set()
    await running
    return found


class Measured(Worker):
    """A worker that counts the points that its last stage before the anomalies has taken."""

    def __init__(self, settings: Settings, stages: Sequence[str], counted: Counted) -> None:
        super().__init__(settings, load_specs(), stages, Health())
        self.counted, self.bytes = counted, 0

    def _stages(self, wiring: Wiring, delivery: Any) -> list[Stage]:
        made = super()._stages(wiring, delivery)
        hot = [stage for stage in made if stage.name in ("decode", "fused", "detect")]
        last = hot[-1] if hot[0].name == "decode" else hot[0]
        begun(hot[0], self.counted)
        told(last, self.counted)
        self._weigh(wiring.outputs)
        self.engine = wiring.engine
        return made

    def _weigh(self, outputs: Any) -> None:
        before = outputs.send

        async def send(messages: Sequence[Any]) -> None:
            self.bytes += sum(len(m.value or b"") for m in messages if m.topic == self.names.points)
            await before(messages)

        outputs.send = send

    def found(self, source: str) -> dict[str, float]:
        """What was measured; `source` names the detectors."""
        n, of = self.counted.seen, [Of(p, source).number for p in range(PARTITIONS)]
        series = sum(self.engine.detector(number).series for number in of)
        weight = {"bytes": self.bytes / n} if self.bytes else {}
        return {"rate": n / self.counted.took, "cpu": n / self.counted.cpu, "series": series} | weight


def begun(stage: Any, counted: Counted) -> None:
    """Let the stage tell when its partitions came."""
    before = stage.restore

    async def restore(places: Sequence[Any]) -> None:
        counted.begin()
        await before(places)

    stage.restore = restore


def told(stage: Any, counted: Counted) -> None:
    """Let the stage tell what it judged."""
    before = stage.take

    async def take(block: Any) -> int:
        n = int(await before(block))
        counted.add(n)
        return n

    stage.take = take


def part(*arguments: object) -> dict[str, float]:
    """One measurement, in a process of its own."""
    command = [sys.executable, __file__, "--part", *map(str, arguments)]
    found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=600).stdout
    return dict(json.loads(found.splitlines()[-1]))


def naive(bootstrap: str, topic: str, records: int) -> float:
    """(c): points a second."""
    command = [sys.executable, str(Path(__file__).with_name("naive.py")), bootstrap, topic, str(records)]
    found = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=600).stdout
    return float(found.splitlines()[-1])


def measure(bootstrap: str, n: int) -> dict[str, float]:
    """All of them; prints the table on the way."""
    row = "{:44} {:>12} {:>16} {:>11} {:>6}"
    print(row.format("", "points/s", "points/s of CPU", "new series", "bytes"))

    def show(name: str, found: dict[str, float]) -> float:
        cells = [f"{found[k]:,.0f}" if k in found else "" for k in ("rate", "cpu", "series")]
        print(row.format(name, *cells, f"{found['bytes']:.1f}" if "bytes" in found else ""), flush=True)
        return found["rate"]

    mark = uuid4().hex[:6]
    results: dict[str, float] = {}
    topic = f"ingest-json-{mark}"
    asyncio.run(fill(bootstrap, topic, json_records(n)))
    ceiling = show("JSON (a) aiokafka getmany", part("getmany", bootstrap, topic, n))
    ours = show("JSON (b) decode + detect, one stage", part("worker", bootstrap, topic, "prometheus_json", n, "faust", 1))
    show("JSON (b) the same, plain consumer", part("worker", bootstrap, topic, "prometheus_json", n, "consumer", 1))
    show("JSON (b2) two stages: decode, topic, detect", part("worker", bootstrap, topic, "prometheus_json", n, "faust", 2))
    tutorial = show("JSON (c) Faust + river per event", {"rate": naive(bootstrap, topic, min(n, NAIVE_RECORDS))})
    results |= {"json_points_per_s": ours, "json_vs_naive": ours / tutorial, "json_vs_getmany": ours / ceiling}
    for size in (100, 1000):
        topic = f"ingest-otlp{size}-{mark}"
        points = -(-OTLP_POINTS * n // 1000) * 1000
        asyncio.run(fill(bootstrap, topic, otlp_records(points, size)))
        found = part("worker", bootstrap, topic, "otlp_proto", points, "faust", 1)
        results[f"otlp{size}_points_per_s"] = show(f"OTLP {size} (b) decode + detect, one stage", found)
        results[f"otlp{size}_points_per_cpu_s"] = found["cpu"]
        found = part("worker", bootstrap, topic, "otlp_proto", points, "faust", 2)
        results[f"otlp{size}_two_stages_points_per_s"] = show(f"OTLP {size} (b2) two stages: decode, topic, detect", found)
        decoded = part("worker", bootstrap, topic, "otlp_proto", points, "faust", 0)
        show(f"OTLP {size} (b3) decode stage alone", decoded)
        results[f"otlp{size}_decode_stage_points_per_cpu_s"] = decoded["cpu"]
        results |= {f"otlp{size}_two_stages_points_per_cpu_s": found["cpu"], "bytes_per_point": found["bytes"]}
    topic, samples = f"ingest-write-{mark}", -(-2 * n // PER_REQUEST) * PER_REQUEST
    asyncio.run(fill(bootstrap, topic, write_records(samples)))
    for stages, name in ((2, "(b2) two stages: decode, topic, detect"), (1, "(b) decode + detect, one stage")):
        found = part("worker", bootstrap, topic, "prometheus_remote_write", samples, "faust", stages)
        results["remote_write_samples_per_s"] = show(f"remote write {name}", found)
    print("\nreading alone")
    from benchmarks import transport

    found = transport.measure(bootstrap, n, TRANSPORT_ROUNDS)
    return results | {key: found[key] for key in ("transport_records_per_s", "transport_vs_block_reader")}


def one(arguments: Sequence[str]) -> None:
    """The part that a sub-process was started for."""
    what, bootstrap, topic, *rest = arguments
    if what == "getmany":
        print(json.dumps({"rate": asyncio.run(getmany(bootstrap, topic, int(rest[0])))}))
    else:
        encoding, points, driver, stages = rest
        print(json.dumps(asyncio.run(worker(bootstrap, topic, encoding, int(points), driver, int(stages)))))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="the ratios as the last line")
    parser.add_argument("--records", type=int, default=9_000_000, help="JSON records; of the others twice as many")
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        one(args.part)
        return 0
    try:
        with kafka.broker() as bootstrap:
            results = measure(bootstrap, args.records)
    except kafka.Missing as missing:
        print(missing, file=sys.stderr)
        return ABSENT
    if args.json:
        print(json.dumps(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
