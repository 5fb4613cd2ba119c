"""All workers are killed and what they knew is deleted, while one service fails and another one is silent.

`checkout` fails from before the loss until long after it, and right before the loss more of it, too late to be noted; `mail`
is silent over the loss and comes back; `search` fails when everything was learned anew; the others are well. What the alerts
topic and the receivers got must be the story of the three, each told once and resolved once, as if nothing had been lost,
and the loss must be said. Times are steps of the story.

`python -m tests.faults.lost` loses everything that can be lost, in turn: a part of `make faults`.
"""

import asyncio
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import aiohttp
import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.errors import KafkaError
from prometheus_client.parser import text_string_to_metric_families
from tests.faults.chaos import BEGIN, EVERY, PATIENT, Verdict, read, received, record, settled, told
from tests.faults.torment import PARTITIONS, Worker
from tests.host import broker as kafka

from anomaly.config.settings import KafkaSettings
from anomaly.dispatch.alert import Alert, What
from anomaly.host import connect
from anomaly.host.topics import Names

SERVICES = ("checkout", "mail", "search", "web", "cart", "stock")
TROUBLE = {"checkout": (90, 150), "mail": (70, 165), "search": (300, 330)}  # from, until: failing, silent, failing
WORSE, LOSS, BACK, END = 101, 105, 115, 370  # BACK: to which it is read late
SOON = 20  # steps within which a trouble and its end are told
WORKERS = 2
PACE = 0.03  # seconds a step
SAID = "what was learned is lost"
MANIFEST = 2  # records at the end of a log of checkpoints: the manifest, and the marker of its transaction

DETECT, CORRELATE, NOTES, INCIDENTS = "detect", "correlate", "notes", "incidents"  # whose topic is lost

_alert = msgspec.json.Decoder(Alert)


class Loss(NamedTuple):
    """Whose topics are lost, or their `records` alone but for some that are `left`; `keyed`: judged where it is decoded."""

    of: tuple[str, ...]
    records: bool = False
    keyed: bool = False
    driver: str = "consumer"
    left: int = 0

    def topics(self, name: str) -> list[str]:
        """Their names."""
        names = Names.of(name)
        detect = names.state_of(name if self.keyed else names.points)
        correlate = names.state_of(names.anomalies)
        known = {DETECT: detect, CORRELATE: correlate, NOTES: names.open, INCIDENTS: names.incidents}
        return [known[each] for each in self.of]

    def stages(self) -> set[str]:
        """The stages that must say so."""
        kept = {DETECT: "fused" if self.keyed else DETECT, CORRELATE: CORRELATE}
        return {kept[each] for each in self.of if each in kept}

    def told(self, group: str) -> list[What]:
        """What must be told of a group. Of a trouble that nobody can judge any more there is no end: that is unknown."""
        unknown = TROUBLE[group][0] < LOSS and {DETECT, NOTES, INCIDENTS} <= set(self.of)
        return [What.TRIGGER] if unknown else [What.TRIGGER, What.RESOLVE]


class Outcome(NamedTuple):
    """What came of it: (group, event, step) of the alerts, what receivers got of them, and the losses that were said."""

    alerts: list[tuple[str, What, float]]
    lines: Verdict
    counted: Counter[str]  # by stage
    logged: int

    def wrong(self, loss: Loss) -> list[str]:
        """All that is not as it must be."""
        found = [f"{group} is well" for group, *_ in self.alerts if group not in TROUBLE]
        for group, bounds in TROUBLE.items():
            own = [(event, at) for who, event, at in self.alerts if who == group and event is not What.UPDATE]
            in_time = [begin <= at <= begin + SOON for begin, (_, at) in zip(bounds, own, strict=False)]
            if [event for event, _ in own] != loss.told(group) or not all(in_time):
                found.append(f"{group} was in trouble in {bounds}, and told was {own}")
        if self.lines.lost or self.lines.added:
            found.append(f"receivers did not get what was decided: {self.lines}")
        if self.counted != dict.fromkeys(loss.stages(), PARTITIONS) or self.logged != self.counted.total():
            found.append(f"{self.counted} losses were counted, {self.logged} logged")
        return found


def story(step: int) -> Iterator[tuple[int, bytes]]:
    """(partition, record) of all series at a step; a service has its partition."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(BEGIN + EVERY * step))
    for s, service in enumerate(SERVICES):
        begin, end = TROUBLE.get(service, (END, END))
        ill, failed = begin <= step < end, 40 * max(0, min(step, end) - begin)
        if service == "mail" and ill:
            continue
        who = {"job": service, "instance": f"10.0.{s}.1:1"}
        more = {"queue_depth": 500 * ill, "orders_open": 400 * ill, "parcels_late": 300 * (ill and step >= WORSE)}
        for g, name in enumerate(more):
            noise = (s * 31 + g * 17 + step * 7919) % 100 / 10
            yield s % PARTITIONS, record(stamp, 50 + noise + more[name], who | {"__name__": name})
        for code, value in (("200", 100 * step - failed), ("500", failed)):
            yield s % PARTITIONS, record(stamp, value, who | {"__name__": "http_requests_total", "code": code})


async def write(bootstrap: str, topic: str, steps: range) -> None:
    """The story of these steps, hardly faster than it is read: of a backlog one partition is read long before another."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=5, **PATIENT) as producer:
        for step in steps:
            for partition, value in story(step):
                await producer.send(topic, value, partition=partition, timestamp_ms=(BEGIN + EVERY * step) * 1000)
            await asyncio.sleep(PACE)


def admin(bootstrap: str) -> AbstractAsyncContextManager[AIOKafkaAdminClient]:
    """An admin client for a moment."""
    return connect.admin(KafkaSettings(bootstrap=[bootstrap]))


async def lose(bootstrap: str, name: str, loss: Loss) -> None:
    """Delete topics, or what is in them; of what is only compacted the broker deletes no records."""
    compacted = {Names.of(name).open, Names.of(name).incidents}
    emptied = [topic for topic in loss.topics(name) if loss.records and topic not in compacted]
    deleted = [topic for topic in loss.topics(name) if topic not in emptied]
    async with admin(bootstrap) as client, AIOKafkaConsumer(bootstrap_servers=bootstrap) as consumer:
        ends = await consumer.end_offsets([TopicPartition(topic, p) for topic in emptied for p in range(PARTITIONS)])
        await client.delete_records({place: RecordsToDelete(before_offset=end - loss.left) for place, end in ends.items()})
        await client.delete_topics(deleted)

        async def gone() -> bool:
            return not set(deleted) & set(await client.list_topics())

        await until(gone, "topics are not deleted")


async def until(there: Callable[[], Awaitable[bool]], otherwise: str, within: float = 90.0) -> None:
    """Return when it is so."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        with suppress(KafkaError, OSError):  # a broker does not know its new groups at once, nor is a worker there
            if await there():
                return
        await asyncio.sleep(0.3)
    raise AssertionError(otherwise)


async def asked(workers: Sequence[Worker], path: str) -> list[tuple[int, str]]:
    """What workers answer over HTTP: (status, text)."""
    found = []
    async with aiohttp.ClientSession() as session:
        for worker in workers:
            async with session.get(f"http://127.0.0.1:{worker.port}/{path}") as answer:
                found.append((answer.status, await answer.text()))
    return found


async def run(bootstrap: str, loss: Loss) -> Outcome:
    """The whole story."""
    name = f"lost-{uuid4().hex[:6]}"
    async with admin(bootstrap) as client:
        forever = {"retention.ms": "-1"}  # the story is of the past, and the broker would delete it
        await client.create_topics([NewTopic(name, PARTITIONS, 1, topic_configs=forever)])
    with tempfile.TemporaryDirectory(prefix="anomaly-lost-") as folder:
        names = [f"worker-{i}" for i in range(WORKERS)]
        workers = [Worker(bootstrap, name, loss.driver, Path(folder), 0.0, loss.keyed, own) for own in names]
        try:
            counted = await _through(bootstrap, name, loss, workers, Path(folder))
            for worker in workers:
                await asyncio.to_thread(worker.end, signal.SIGTERM)
        except AssertionError as error:
            raise AssertionError(
                "\n".join([str(error), *(w.log.read_text(errors="replace")[-2000:] for w in workers)])
            ) from error
        finally:
            for worker in workers:
                if worker.alive():
                    worker.end(signal.SIGKILL)
        lines, logs = received(Path(folder)), [worker.log.read_text(errors="replace") for worker in workers]
    values = [value for p in range(PARTITIONS) for value in await read(bootstrap, Names.of(name).alerts, p)]
    decided = list({alert.id: alert for alert in map(_alert.decode, values)}.values())  # what came again came by its id
    alerts = [(a.group, a.event, (datetime.fromisoformat(a.time).timestamp() - BEGIN) / EVERY) for a in decided]
    return Outcome(alerts, told(decided, lines), counted, sum(log.count(SAID) for log in logs))


async def _through(bootstrap: str, name: str, loss: Loss, workers: Sequence[Worker], folder: Path) -> Counter[str]:
    """Tell the story with a loss in it; how many losses are counted at its end, by stage."""

    async def ready() -> bool:
        return {status for status, _ in await asked(workers, "readyz")} == {200}

    async def both_told() -> bool:
        return len({line.dedup_key for line in received(folder)}) == 2

    async def all_done() -> bool:
        return await settled(bootstrap, name, "fused" if loss.keyed else "decode")

    for worker in workers:
        worker.start()
    await until(ready, "workers are not ready", 240.0)  # kernels may be new
    await write(bootstrap, name, range(LOSS))
    await until(both_told, "failure and silence are not told")
    await until(all_done, "not everything is read")
    for worker in workers:
        worker.end(signal.SIGKILL)
    await lose(bootstrap, name, loss)
    await write(bootstrap, name, range(LOSS, BACK))
    for worker in workers:
        worker.start()
    await until(ready, "workers are not ready behind the loss")
    await write(bootstrap, name, range(BACK, END))
    await until(all_done, "not everything is read behind the loss")
    return counted([text for _, text in await asked(workers, "metrics")])


def counted(metrics: Sequence[str]) -> Counter[str]:
    """By stage, the partitions of which workers say that their state was lost."""
    found = Counter[str]()
    for text in metrics:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == "anomaly_state_lost_total":
                    found[sample.labels["stage"]] += int(sample.value)
    return found


def main() -> int:
    """Each loss in each way of reading; prints what is wrong."""
    of = (DETECT,), (CORRELATE,), (DETECT, CORRELATE), (DETECT, CORRELATE, NOTES), (DETECT, NOTES, INCIDENTS)
    losses = [Loss(*each) for each in product(of, [False, True], [False, True], ["faust", "consumer"])]
    faults = 0
    with kafka.broker() as bootstrap:
        for loss in [*losses, Loss((DETECT, CORRELATE), records=True, left=MANIFEST)]:
            wrong = asyncio.run(run(bootstrap, loss)).wrong(loss)
            print(loss, *(wrong or ["as it must be"]), sep="\n  ", flush=True)
            faults += len(wrong)
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
