"""The embedded host around an engine that only notes what it is given: order, answers, room, and where alerts go."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import pytest

from anomaly.config.settings import SourceSettings
from anomaly.correlate.incident import Incident
from anomaly.decode.block import Block
from anomaly.decode.points import Points
from anomaly.decode.records import BadRecord, DeadLetter, Records
from anomaly.detect.anomaly import Tick
from anomaly.dispatch.alert import Alert, Severity, What
from anomaly.engine import Engine
from anomaly.host.inprocess import InProcess
from anomaly.host.otlp_http import Full

FILE = SourceSettings(topic="history", encoding="influx")
ARRIVED = 1_700_000_000_000


def alert(name: str) -> Alert:
    return Alert(
        event=What.TRIGGER, id=name, dedup_key=name, time="", severity=Severity.WARNING, why="", title=name, text="",
        environment="", group="", started_at="", ended_at=None, confidence="",
    )  # fmt: skip


class Notes:
    """In the engine's place: a body `bad…` is a dead letter, `alert…` an alert, `break` an error of the engine."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, list[bytes], list[int]]] = []

    def decode(self, source: SourceSettings, records: Records) -> tuple[list[tuple[int, Block]], list[DeadLetter]]:
        values = [records.value(i) for i in range(len(records))]
        self.seen.append((source.encoding, values, records.time.tolist()))
        dead = [records.dead(i, BadRecord("malformed", "")) for i, v in enumerate(values) if v.startswith(b"bad")]
        self.alerts = [v.decode() for v in values if v.startswith(b"alert")]
        if b"break" in values:
            raise RuntimeError("a broken promise")
        return [(0, Block(source.topic, 0, 0, 0, 0, 0, Points.empty()))], dead

    def detect(self, partition: int, block: Block) -> list[Tick]:
        return [Tick(partition=partition, time=0)]

    def correlate(self, partition: int, events: list[Tick]) -> list[tuple[Incident | None, Alert | None]]:
        return [(None, None), *((None, alert(name)) for name in self.alerts)]


@asynccontextmanager
async def hosted(**options: Any) -> AsyncIterator[tuple[InProcess, Notes, list[str], Callable[[], None]]]:
    """The consumer, its engine, the names of the delivered alerts, and a switch that lets it begin."""
    engine, delivered = Notes(), list[str]()

    async def deliver(told: Alert) -> None:
        await asyncio.sleep(0)
        delivered.append(told.id)

    running = InProcess(cast(Engine, engine), deliver, now=lambda: ARRIVED, **options)
    tasks: list[asyncio.Task[None]] = []
    try:
        yield running, engine, delivered, lambda: tasks.append(asyncio.create_task(running.run()))
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError, RuntimeError):
                await task


async def test_each_sender_hears_of_his_own_records_though_they_are_judged_together():
    async with hosted() as (running, engine, _, begin):
        waiting = [asyncio.create_task(running.offer("otlp_proto", body)) for body in (b"good", b"bad 1", b"fine", b"bad 2")]
        await asyncio.sleep(0)
        begin()
        answers = await asyncio.gather(*waiting)
        assert [[letter.value for letter in dead] for dead in answers] == [[], [b"bad 1"], [], [b"bad 2"]]
        assert len(engine.seen) == 1


async def test_requests_are_judged_in_the_order_of_arrival_and_one_encoding_at_a_time():
    async with hosted() as (running, engine, _, begin):
        bodies = [("otlp_proto", b"1"), ("otlp_proto", b"2"), ("otlp_json", b"3"), ("otlp_proto", b"4")]
        waiting = [asyncio.create_task(running.offer(*body)) for body in bodies]
        await asyncio.sleep(0)
        begin()
        await asyncio.gather(*waiting)
        assert [(encoding, values) for encoding, values, _ in engine.seen] == [
            ("otlp_proto", [b"1", b"2"]),
            ("otlp_json", [b"3"]),
            ("otlp_proto", [b"4"]),
        ]


async def test_a_file_hears_of_each_of_its_records_by_offset():
    async with hosted() as (running, engine, _, begin):
        begin()
        await running.put(FILE, [b"1"])
        dead = await running.put(FILE, [b"bad 2", b"3", b"bad 4"])
        assert [(letter.source, letter.offset, letter.value) for letter in dead] == [
            ("history", 1, b"bad 2"),
            ("history", 3, b"bad 4"),
        ]
        assert engine.seen[1][2] == [-1, -1, -1]


async def test_records_carry_the_time_of_their_arrival_so_that_the_future_can_be_told():
    async with hosted() as (running, engine, _, begin):
        begin()
        await running.offer("otlp_proto", b"1")
        assert engine.seen[0][2] == [ARRIVED]


async def test_a_full_queue_refuses_who_cannot_wait_and_keeps_what_it_has():
    async with hosted(room=2) as (running, engine, _, begin):
        waiting = [asyncio.create_task(running.offer("otlp_proto", b"%d" % i)) for i in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Full):
            await running.offer("otlp_proto", b"2")
        patient = asyncio.create_task(running.put(FILE, [b"3", b"4"]))
        begin()
        await asyncio.gather(*waiting, patient)
        assert [v for _, values, _ in engine.seen for v in values] == [b"0", b"1", b"3", b"4"]


async def test_alerts_are_delivered_in_order_before_the_sender_is_answered():
    async with hosted() as (running, _, delivered, begin):
        begin()
        await running.offer("otlp_proto", b"alert 1")
        assert delivered == ["alert 1"]
        await running.offer("otlp_proto", b"alert 2")
        assert delivered == ["alert 1", "alert 2"]


async def test_a_watcher_sees_what_was_judged():
    judged: list[int] = []
    async with hosted(watch=lambda j: judged.append(j.records)) as (running, _, _, begin):
        begin()
        await running.offer("otlp_proto", b"1")
        assert judged == [1]


async def test_a_sender_who_left_does_not_stop_the_others():
    async with hosted() as (running, engine, _, begin):
        gone = asyncio.create_task(running.offer("otlp_proto", b"gone"))
        await asyncio.sleep(0)
        gone.cancel()
        begin()
        assert await running.offer("otlp_proto", b"here") == []
        assert [v for _, values, _ in engine.seen for v in values][-1] == b"here"


async def test_an_error_of_the_engine_ends_the_host_and_whoever_waits_is_told():
    async with hosted() as (running, _, _, _):
        waiting = asyncio.create_task(running.offer("otlp_proto", b"break"))
        with pytest.raises(RuntimeError, match="a broken promise"):
            await running.run()
        with pytest.raises(RuntimeError, match="a broken promise"):
            await waiting
