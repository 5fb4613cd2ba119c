"""All four signals on a real broker: two workers, one of which is killed, several partitions, records with and without keys.

Metrics, a probe's results, log lines and spans each have a topic; log lines of one service come by a source that is keyed by
group, and are judged where they are decoded. One service is ill in each signal. What is told must be what one pass over
the stages' inputs gives, to the byte, as in `chaos`; and the series and the alerts those of an embedded engine that took the
same records undisturbed.
"""

import asyncio
import signal
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import NamedTuple, cast
from uuid import uuid4

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from tests.acceptance import test_log_timelines as logs
from tests.acceptance.test_span_timelines import BEGIN, Ill, second
from tests.faults.chaos import PATIENT, _event, alerted, committed, compare, detected, read, record
from tests.faults.lost import asked, until
from tests.faults.torment import PARTITIONS, Worker

from anomaly.config.load import load, load_specs
from anomaly.config.settings import Settings
from anomaly.decode.records import Records
from anomaly.detect.anomaly import Anomaly
from anomaly.detect.detector import Detector
from anomaly.dispatch.alert import Alert, What
from anomaly.engine import Engine
from anomaly.host import statelog
from anomaly.host.blocks import Place
from anomaly.host.state_topic import StateTopic
from anomaly.host.topics import Names

EVERY, STEPS, KILLED = 5, 190, 142  # seconds a step; a worker is killed in the midst of all that is ill
CALLER = "web"  # calls the shop, and waits for it
ILL = {"mail": range(135, 150), "edge": range(140, 152), "cart": range(138, 150), "stock": range(132, 146),
       "shop": range(136, 154)}  # fmt: skip
FULL = [(logs.ERROR, "disk of ada is full")] * 5
SIGNALS = {"metrics": "prometheus_json", "probes": "prometheus_json", "lines": "otlp_logs_proto", "keyed": "otlp_logs_proto",
           "spans": "otlp_spans_proto"}  # fmt: skip
PACE = 0.03  # seconds a step

_alert = msgspec.json.Decoder(Alert)
_to_json = msgspec.json.Encoder().encode

Who = tuple[str, str, tuple[tuple[str, str], ...]]


class Written(NamedTuple):
    """A record of the story: of which signal, when (ms), on which partition unless it has a key."""

    signal: str
    time: int
    value: bytes
    partition: int | None = None
    key: bytes | None = None


class Outcome(NamedTuple):
    """What came of it: how much is missing on our topics, or too much; series and alerts, of the workers and embedded."""

    lost: int
    added: int
    series: tuple[set[Who], set[Who]]
    alerts: tuple[set[tuple[str, What]], set[tuple[str, What]]]


@cache
def story(step: int) -> tuple[Written, ...]:
    """All records of a step."""
    return tuple(_written(step))


def _written(step: int) -> Iterator[Written]:
    at, ill = BEGIN + EVERY * step, {group for group, steps in ILL.items() if step in steps}
    time, stamp = at * 1000, f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"
    for n, job in enumerate(("mail", "web", "search")):
        value = (n * 31 + step * 7919) % 100 / 10 + 500 * (job in ill)
        yield Written("metrics", time, record(stamp, value, {"__name__": "queue_depth", "job": job}), key=job.encode())
    up = record(stamp, 1.0 - ("edge" in ill), {"__name__": "probe_success", "job": "edge", "instance": "https://edge"})
    yield Written("probes", time, up, key=b"edge")
    cart, stock = (
        logs.request(EVERY * step, [*logs.usual(EVERY * step), *FULL * (one in ill)], one) for one in ("cart", "stock")
    )
    yield Written("lines", time, cart, step % PARTITIONS)
    yield Written("keyed", time, stock, 1, b"stock")
    for p, spans in enumerate(second(EVERY * step, Ill(fails=0.6) if "shop" in ill else Ill())):
        yield Written("spans", time + 1000, spans, p)


def sources(name: str) -> str:
    """They, as configured; partitions are read a hundred times as fast as they were lived."""
    held = [
        f"{{topic: {name}-{each}, encoding: {encoding}, lateness: 60s{', keyed: group' * (each == 'keyed')}}}"
        for each, encoding in SIGNALS.items()
    ]
    return f"sources: [{', '.join(held)}]"


async def settled(bootstrap: str, name: str) -> bool:
    """Whether every stage has committed all that its topics have."""
    readers = {"keyed": "fused", "spans": "spans", "lines": "spans"}  # lines go by trace to where spans go
    stages = {f"{name}-{each}": readers.get(each, "decode") for each in SIGNALS}
    stages |= {f"{name}.spans": "join", f"{name}.points": "detect"}
    stages |= {f"{name}.anomalies": "correlate", f"{name}.alerts": "delivery"}
    return await committed(bootstrap, name, stages)


async def run(bootstrap: str) -> Outcome:
    """The whole story."""
    name = f"signals-{uuid4().hex[:6]}"
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    forever = {"retention.ms": "-1"}  # the story is of the past, and the broker would delete it
    await admin.create_topics([NewTopic(f"{name}-{each}", PARTITIONS, 1, topic_configs=forever) for each in SIGNALS])
    await admin.close()
    with tempfile.TemporaryDirectory(prefix="anomaly-signals-") as folder:
        workers = [Worker(bootstrap, name, "consumer", Path(folder), 0.0, instance=f"worker-{i}") for i in range(2)]
        for worker in workers:
            whole = worker.config.read_text().splitlines()
            worker.config.write_text("\n".join(sources(name) if line.startswith("sources") else line for line in whole))
        try:
            await _through(bootstrap, name, workers)
            for worker in workers:
                await asyncio.to_thread(worker.end, signal.SIGTERM)
        except AssertionError as error:
            raise AssertionError("\n".join([str(error), *(w.log.read_text()[-3000:] for w in workers)])) from error
        finally:
            for worker in workers:
                if worker.alive():
                    worker.end(signal.SIGKILL)
        settings = load(str(workers[0].config), {}, [])
    return await _judged(bootstrap, settings, name)


async def _through(bootstrap: str, name: str, workers: list[Worker]) -> None:
    """Write the story; one worker is killed in it, and started again."""

    async def ready() -> bool:
        return {status for status, _ in await asked(workers, "readyz")} == {200}

    for worker in workers:
        worker.start()
    await until(ready, "workers are not ready", 240.0)  # kernels may be new
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=5, **PATIENT) as producer:
        for step in range(STEPS):
            for one in story(step):
                where = {"partition": one.partition, "key": one.key, "timestamp_ms": one.time}
                await producer.send(f"{name}-{one.signal}", one.value, **where)
            if step == KILLED:
                workers[0].end(signal.SIGKILL)
                workers[0].start()
                await until(ready, "the killed worker is not ready again")  # else it is minutes behind
            await asyncio.sleep(PACE)

    async def done() -> bool:
        return await settled(bootstrap, name)

    await until(done, "not everything is read")


async def _judged(bootstrap: str, settings: Settings, name: str) -> Outcome:
    names = Names.of(name)
    verdict, told = await detected(bootstrap, settings, names), await alerted(bootstrap, settings, names)
    keyed, expected = f"{name}-keyed", set[bytes]()
    source = next(s for s in settings.sources if s.topic == keyed)
    for p in range(PARTITIONS):
        engine, values = Engine(settings, load_specs(), 1), await read(bootstrap, keyed, p)
        for _, block in engine.decode(source, Records.of(values, keyed, p, 0, -1))[0]:
            expected |= {_to_json(a) for a in engine.detect(0, block) if isinstance(a, Anomaly)}
    said = [v for p in range(PARTITIONS) for v in await read(bootstrap, names.anomalies, p)]
    theirs = [v for v in said if isinstance(a := _event.decode(v), Anomaly) and a.group == "stock"]
    fused = compare(theirs, expected)
    series: set[Who] = set()
    for topic in (names.points, keyed):
        for p in range(PARTITIONS):
            series |= who(await restored(settings, Place(topic, p)))
    alone, alerts = embedded(settings)
    values = [value for p in range(PARTITIONS) for value in await read(bootstrap, names.alerts, p)]
    by_id = {alert.id: alert for alert in map(_alert.decode, values)}
    return Outcome(
        verdict.lost + told.lost + fused.lost, verdict.added - fused.distinct + told.added + fused.added,
        (series, who(alone)), (events(list(by_id.values())), events(alerts)),
    )  # fmt: skip


async def restored(settings: Settings, place: Place) -> Detector:
    """A detector as its checkpoint has it."""
    assert settings.kafka
    made, store = Detector(place.partition, load_specs(), settings), StateTopic.of(settings.kafka, place)
    found = await store.open()
    await store.close()
    if found is not None:
        statelog.put(found, made)
    return made


def embedded(settings: Settings) -> tuple[Detector, list[Alert]]:
    """One engine that takes the same records undisturbed, each signal from one partition; what it told."""
    engine, offsets, alerts = Engine(settings, load_specs()), Counter[str](), list[Alert]()
    by_signal = {source.topic.rpartition("-")[2]: source for source in settings.sources}
    for step in range(STEPS):
        for one in story(step):
            records = Records.of([one.value], by_signal[one.signal].topic, 0, offsets[one.signal], one.time)
            offsets[one.signal] += 1
            alerts += engine.process(by_signal[one.signal], records)[0]
    return engine.detector(0), alerts


def who(detector: Detector) -> set[Who]:
    """The series that it knows; of lines, which example it has is no part of them."""
    return {(one.series.group, one.series.metric, one.series.labels) for one in detector.listing()}


def events(alerts: list[Alert]) -> set[tuple[str, What]]:
    """Triggers and resolves of incidents, by each group that the incident is about.

    A hundred times as fast as it was lived, calls may be over before their operation is: then they are told apart; and who
    waits may be told of before who is waited for, in whose incident it is then.
    """
    about: dict[str, set[str]] = defaultdict(set)
    for alert in alerts:
        groups = cast("Iterable[str]", alert.impact.get("groups", ()))
        about[alert.dedup_key] |= {alert.group, *groups}
    told = {(alert.dedup_key, alert.event) for alert in alerts if alert.event is not What.UPDATE}
    return {(group, event) for key, event in told for group in about[key]}
