"""Blocks on their way to anomaly.points, with brokers that answer when the test says so."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from tests.host.test_intake import block as fetched

from anomaly.decode.block import Announced, Block
from anomaly.decode.points import Points
from anomaly.host.sending import MOST, Sending, merge

NO_ANSWER = OSError("no")


class Brokers:
    """Keeps what is sent until it is told to answer."""

    def __init__(self) -> None:
        self.sent: list[list[tuple[int, Block]]] = []
        self.answer = asyncio.Semaphore(0)
        self.error: Exception | None = None

    async def send(self, found: Sequence[tuple[int, Block]]) -> None:
        self.sent.append(list(found))
        await self.answer.acquire()
        if self.error:
            raise self.error

    def ranges(self) -> list[list[tuple[int, int]]]:
        return [[(b.offset, b.next_offset) for _, b in wave] for wave in self.sent]


def part(first: int, following: int, n: int = 1, **more: object) -> Block:
    """`n` points of records from `first` on; their values say which record."""
    points = Points.empty(n)
    points.record[:] = np.arange(n) % (following - first)
    points.value[:] = first + points.record
    return Block("t", 0, first, following, following * 10, 5, points, **more)  # type: ignore[arg-type]


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_block_goes_at_once_and_those_that_come_meanwhile_go_together():
    brokers = Brokers()
    sending, blocks = Sending(brokers.send), [fetched(i, i + 2) for i in (0, 2, 4)]
    for b in blocks:
        await sending.put(b, [(1, part(b.first_offset, b.next_offset))])
    await settle()
    assert brokers.ranges() == [[(0, 2)]]
    assert [b.ticket.settled for b in blocks] == [False] * 3
    brokers.answer.release()
    await settle()
    assert brokers.ranges() == [[(0, 2)], [(2, 6)]]
    assert [b.ticket.settled for b in blocks] == [True, False, False]
    brokers.answer.release()
    await sending.all()
    assert all(b.ticket.settled for b in blocks)


async def test_who_brings_more_than_may_wait_waits_himself():
    brokers = Brokers()
    sending = Sending(brokers.send)
    await sending.put(fetched(0, 2), [(0, part(0, 2))])
    brought = asyncio.create_task(sending.put(fetched(2, 4), [(0, part(2, 4, MOST))]))
    await settle()
    assert not brought.done()
    brokers.answer.release()
    await brought
    brokers.answer.release()
    await sending.all()


async def test_what_cannot_be_sent_is_said_to_the_next_one_and_nothing_is_settled():
    brokers, block = Brokers(), fetched(0, 2)
    sending, brokers.error = Sending(brokers.send), NO_ANSWER
    await sending.put(block, [(0, part(0, 2))])
    brokers.answer.release()
    await settle()
    with pytest.raises(OSError, match="no"):
        await sending.put(fetched(2, 4), [])
    with pytest.raises(OSError, match="no"):
        await sending.all()
    assert not block.ticket.settled


async def test_a_block_that_says_nothing_is_settled_in_its_turn():
    brokers, blocks = Brokers(), [fetched(0, 2), fetched(2, 4)]
    sending = Sending(brokers.send)
    await sending.put(blocks[0], [(0, part(0, 2))])
    await sending.put(blocks[1], [])
    await settle()
    assert not blocks[1].ticket.settled
    brokers.answer.release()
    await sending.all()
    assert blocks[1].ticket.settled


def test_merged_blocks_say_what_they_said_apart():
    new = [Announced(np.array([h], np.uint64), [b"x"]) for h in (7, 8)]
    (one,) = merge([part(0, 3, 4, series=new[0]), part(5, 9, 6, series=new[1])])
    assert (one.offset, one.next_offset, one.heard) == (0, 9, 90)
    np.testing.assert_array_equal(one.offset + one.points.record, one.points.value)
    assert (one.series.hash.tolist(), list(one.series.text)) == ([7, 8], [b"x", b"x"])


def test_blocks_are_not_merged_past_a_record_or_backwards():
    """After a seek the same records come again: their points must not look as if they stood behind the others."""
    large = [part(0, 2, MOST - 1), part(2, 4, 2)]
    again = [part(4, 8), part(6, 9)]
    far = [part(0, 2), replace(part(2, 4), next_offset=1 << 31)]
    for blocks in (large, again, far):
        assert merge(blocks) == blocks
