"""Messages on their way, with brokers that answer when the test says so."""

import asyncio
from collections.abc import Sequence

import pytest
from tests.host.sums import Sums

from anomaly.config.settings import Checkpoint
from anomaly.decode.records import BadRecord
from anomaly.host.blocks import Place
from anomaly.host.checkpoint import Checkpoints
from anomaly.host.health import Health
from anomaly.host.outputs import Message
from anomaly.host.posting import MOST, Posting
from anomaly.host.statelog import Found, Manifest
from anomaly.host.topics import LARGEST_MESSAGE

NO_ANSWER = OSError("no")


class Brokers:
    """Keeps what is sent until it is told to answer."""

    def __init__(self) -> None:
        self.sent: list[list[str]] = []
        self.answer = asyncio.Semaphore(0)
        self.error: Exception | None = None

    async def send(self, messages: Sequence[Message]) -> None:
        self.sent.append([m.topic for m in messages])
        await self.answer.acquire()
        if self.error:
            raise self.error


def said(*names: str) -> list[Message]:
    return [Message(name, 0, None, b"x") for name in names]


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_what_comes_while_a_wave_is_on_its_way_is_one_wave_in_order_and_step_by_step() -> None:
    brokers = Brokers()
    posting = Posting(brokers.send)
    await posting.put(said("note 1"), said("event 1"))
    await settle()
    await posting.put(said("note 2"), said("event 2"), said("end 2"))
    await posting.put([], said("event 3"))
    await settle()
    assert brokers.sent == [["note 1"]]
    for _ in range(5):
        brokers.answer.release()
    await posting.all()
    assert brokers.sent == [["note 1"], ["event 1"], ["note 2"], ["event 2", "event 3"], ["end 2"]]


async def test_who_waits_for_what_was_put_does_not_wait_for_what_comes_later() -> None:
    brokers = Brokers()
    posting = Posting(brokers.send)
    await posting.put(said("a"))
    waiting = asyncio.create_task(posting.all())
    await settle()
    await posting.put(said("b"))
    brokers.answer.release()
    await settle()
    await posting.put(said("c"))
    brokers.answer.release()
    await settle()
    assert waiting.done()
    assert brokers.sent[-1] == ["c"]


async def test_what_brokers_refuse_is_raised_to_whoever_comes_next_and_for_ever() -> None:
    brokers = Brokers()
    posting = Posting(brokers.send)
    brokers.error = NO_ANSWER
    await posting.put(said("a"))
    waiting = asyncio.create_task(posting.all())
    await settle()
    brokers.answer.release()
    with pytest.raises(OSError, match="no"):
        await waiting
    for _ in range(2):
        with pytest.raises(OSError, match="no"):
            await posting.put(said("b"))
    assert brokers.sent == [["a"]]


async def test_who_brings_more_than_may_wait_waits_himself() -> None:
    brokers = Brokers()
    posting = Posting(brokers.send)
    await posting.put(said("a"))
    await settle()
    bringing = asyncio.create_task(posting.put(said(*["b"] * (MOST + 1))))
    await settle()
    assert not bringing.done()
    for _ in range(2):
        brokers.answer.release()
    await bringing


async def test_a_message_that_no_broker_takes_is_refused_at_once_and_the_others_go_on() -> None:
    brokers = Brokers()
    brokers.answer = asyncio.Semaphore(10)
    posting = Posting(brokers.send)
    with pytest.raises(BadRecord, match="too_large"):
        await posting.put([Message("a", 0, None, bytes(LARGEST_MESSAGE))])
    await posting.put(said("b"))
    await posting.all()
    assert brokers.sent == [["b"]]


class Kept:
    """A store that says when it was written."""

    def __init__(self) -> None:
        self.written: list[int] = []

    async def open(self) -> Found | None:
        return None

    async def write(self, manifest: Manifest, body: bytes, low: int) -> Manifest:
        self.written.append(manifest.next_offset)
        return manifest

    async def close(self) -> None: ...


async def test_a_checkpoint_is_written_when_what_was_said_before_it_has_arrived() -> None:
    """Or a crash behind it would lose what it does not say again."""
    place, store, brokers = Place("t", 0), Kept(), Brokers()
    posting = Posting(brokers.send)
    checkpoints = Checkpoints("sums", lambda _: store, Checkpoint(every=0.0), Health())
    checkpoints.sent = posting.all
    await checkpoints.restore({place: Sums()})
    await posting.put(said("a"))
    checkpoints.took(place, 7)
    finishing = asyncio.create_task(checkpoints.finish([place], 10.0))
    while not brokers.sent:
        await asyncio.sleep(0)
    await asyncio.wait([finishing], timeout=0.2)  # it could have been written by now
    assert store.written == []
    for _ in range(3):
        brokers.answer.release()
    await finishing
    assert store.written == [7]
