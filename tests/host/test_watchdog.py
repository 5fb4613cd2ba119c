"""A stage that stands still says why, and reads on with a new consumer; a worker that cannot be helped ends."""

import asyncio
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any
from uuid import uuid4

import pytest
from tests.host.test_sources import DRIVERS, Recorder, numbers, produce

from anomaly.config.settings import KafkaSettings
from anomaly.decode.records import DeadLetter
from anomaly.host import watchdog
from anomaly.host.blocks import Fetched, Place
from anomaly.host.extent import UNKNOWN, Extent
from anomaly.host.health import Health
from anomaly.host.intake import Intake
from anomaly.host.source import Source
from anomaly.host.watchdog import Reader, Stalled, Watched

MakeTopic = Callable[..., Awaitable[str]]
LIMIT = 5.0  # seconds; more than the three after which the Faust adapter reads again what Faust dropped


async def nothing(letters: Sequence[DeadLetter]) -> None:
    assert not letters


async def yes() -> bool:
    return True


async def no() -> bool:
    return False


class Hangs(Recorder):
    """Does not end its first block."""

    hung = False

    async def take(self, block: Fetched) -> int:
        if not self.hung:
            self.hung = True
            await asyncio.Event().wait()
        return await super().take(block)


class Silent:
    """A source that is assigned a partition and then reads nothing, of which the brokers have five records."""

    def __init__(self, intake: Intake) -> None:
        self.intake, self.stopped = intake, asyncio.Event()

    async def run(self) -> None:
        self.intake.gate.look = self.look
        await self.intake.assigned([Place("t", 0)])
        self.intake.begin({Place("t", 0): 0})
        await self.stopped.wait()

    async def look(self, places: Iterable[Place]) -> dict[Place, Extent]:
        return {place: Extent(UNKNOWN, 0, 5) for place in places}

    async def stop(self) -> None:
        self.stopped.set()

    def lag(self) -> dict[Place, int]:
        return {}


class Makes:
    """Makes sources, and counts them."""

    def __init__(self, stage: Any, source: Callable[[Intake], Source], health: Health) -> None:
        self.stage, self.source, self.health = stage, source, health
        self.made: list[Reader] = []

    async def __call__(self) -> Reader:
        intake = Intake(self.stage, nothing, self.health)
        self.made.append((intake, self.source(intake)))
        return self.made[-1]


def counted(health: Health, reason: str) -> float:
    return health.registry.get_sample_value("anomaly_stalls_total", {"stage": "decode", "reason": reason}) or 0.0


async def test_a_consumer_made_anew_twice_in_vain_ends_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """The orchestrator may have more luck; the error says what was waited for."""
    leaving: list[float] = []
    monkeypatch.setattr(watchdog, "leave_within", leaving.append)
    health = Health()
    makes = Makes(Recorder("t"), Silent, health)
    with pytest.raises(Stalled, match=r"partition=0\) is not read on from offset 0, it ends at 5"):
        await asyncio.wait_for(Watched("decode", makes, 0.1, health, yes).run(), 30)
    assert (len(makes.made), counted(health, "not_read"), len(leaving)) == (3, 3.0, 1)


async def test_a_worker_waits_for_brokers_that_do_not_answer() -> None:
    """They are no stall, and a new consumer would not reach them either."""
    health = Health()
    makes = Makes(Recorder("t"), Silent, health)
    watched = Watched("decode", makes, 0.05, health, no)
    running = asyncio.create_task(watched.run())
    await asyncio.sleep(0.5)
    await watched.stop()
    await asyncio.wait_for(running, 30)
    assert (len(makes.made), counted(health, "not_read")) == (1, 0.0)


async def test_a_worker_that_is_told_to_stop_before_it_reads_does_not_begin_to() -> None:
    """While a source is made, topics are made: brokers may hold that up for as long as they like."""
    health, reached, answered = Health(), asyncio.Event(), asyncio.Event()
    makes = Makes(Recorder("t"), Silent, health)

    async def slowly() -> Reader:
        reached.set()
        await answered.wait()
        return await makes()

    for answer in (True, False):
        watched = Watched("decode", slowly, 0.0, health, yes)
        running = asyncio.create_task(watched.run())
        await reached.wait()
        if answer:
            answered.set()
        await watched.stop()
        await asyncio.wait_for(running, 30)
        reached.clear()
        answered.clear()
    assert not any(intake.in_hand or intake.blocks for intake, _ in makes.made)


def test_what_never_gives_the_loop_back_ends_with_its_stack() -> None:
    """Compiled code in an endless loop leaves nobody else to notice."""
    program = """
        import asyncio, time
        from anomaly.host.watchdog import alarm
        async def main():
            task = asyncio.create_task(alarm(1.0))
            await asyncio.sleep(0)
            stuck()
        def stuck():
            while True: pass
        asyncio.run(main())
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert "in stuck" in ended.stderr


@pytest.fixture(params=["faust", "consumer"])
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Scene:
    """A watched source on a real broker."""

    def __init__(self, driver: str, bootstrap: str, stage: Recorder) -> None:
        kafka, group = KafkaSettings(bootstrap=[bootstrap]), f"g-{uuid4().hex[:8]}"
        self.health = Health()
        self.makes = Makes(stage, lambda intake: DRIVERS[driver](kafka, group, intake), self.health)
        self.watched = Watched("decode", self.makes, LIMIT, self.health, lambda: watchdog.answers(kafka))

    async def __aenter__(self) -> "Scene":
        self.task = asyncio.create_task(self.watched.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.watched.stop()
        await asyncio.wait_for(self.task, 60)


@pytest.mark.kafka
async def test_a_block_that_does_not_end_is_given_up_and_taken_by_a_new_consumer(
    bootstrap: str, topic: MakeTopic, driver: str
) -> None:
    """Every record is taken, the one in hand too, and the stall is counted."""
    name = await topic(1)
    stage = Hangs(name)
    await produce(bootstrap, name, numbers(20))
    async with Scene(driver, bootstrap, stage) as scene:
        await stage.until(20)
    assert [int(value) for _, _, value in stage.taken] == list(range(20))
    assert (len(scene.makes.made), counted(scene.health, "in_hand")) == (2, 1.0)


def kill_fetcher(driver: str, source: Any) -> None:
    """Whatever may end it: a defect of the client, a lost wake-up."""
    consumer = source.app.consumer._thread._consumer if driver == "faust" else source._consumer
    task = consumer._fetcher._fetch_task
    task.get_loop().call_soon_threadsafe(task.cancel)


@pytest.mark.kafka
async def test_a_consumer_whose_fetcher_died_is_made_anew(bootstrap: str, topic: MakeTopic, driver: str) -> None:
    """It does not know of the records that it does not read; the brokers do."""
    name = await topic(1)
    stage = Recorder(name)
    await produce(bootstrap, name, numbers(10))
    async with Scene(driver, bootstrap, stage) as scene:
        await stage.until(10)
        kill_fetcher(driver, scene.makes.made[0][1])
        await asyncio.sleep(0.5)
        await produce(bootstrap, name, numbers(10, 10))
        await stage.until(20)
    assert sorted({int(value) for _, _, value in stage.taken}) == list(range(20))
    assert (len(scene.makes.made), counted(scene.health, "not_read")) == (2, 1.0)
