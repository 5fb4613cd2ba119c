"""What may be committed, and what a stage is given, without a broker."""

from collections.abc import Sequence

import pytest

from anomaly.decode.records import DeadLetter, Records
from anomaly.host.blocks import Fetched, Place
from anomaly.host.health import Health
from anomaly.host.intake import Intake
from anomaly.host.progress import Progress

PLACE = Place("t", 0)


def block(first: int, following: int) -> Fetched:
    """A block of one-byte records [first, following)."""
    made = Records.of([b"x"] * (following - first), "t", 0, first)
    columns = (made.offset, made.time, made.value_at, made.value_len)
    return Fetched("t", 0, made.buffer, *columns, following, first)


class Stage:
    """Remembers."""

    name, reads_sources, settles_later = "decode", True, False
    keeps_state = False
    topics: tuple[str, ...] = ("t",)

    def __init__(self) -> None:
        self.told: list[object] = []

    def state(self, place: Place) -> None:
        return None

    async def restore(self, places: Sequence[Place]) -> None:
        self.told.append("restore")

    def drop(self, place: Place) -> None:
        self.told.append("drop")

    async def take(self, block: Fetched) -> int:
        self.told.append((block.first_offset, block.next_offset))
        return len(block)

    def report(self) -> None: ...

    async def sent(self) -> None: ...

    async def finish(self) -> None: ...


async def nowhere(letters: Sequence[DeadLetter]) -> None: ...


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def intake(stage: Stage) -> Intake:
    return Intake(stage, nowhere, Health())


def test_an_offset_is_committable_when_all_blocks_below_it_are_settled() -> None:
    """Settled out of order: the first that is not holds the rest."""
    progress = Progress()
    a, b, c = block(0, 5), block(5, 8), block(8, 9)
    for each in (a, b, c):
        progress.deliver(each)
    b.ticket.settled = True
    assert progress.committable(PLACE) is None
    a.ticket.settled = True
    assert progress.committable(PLACE) == 8
    c.ticket.settled = True
    assert progress.committable(PLACE) == 9


def test_blocks_that_come_again_replace_what_they_cover_whatever_their_borders() -> None:
    """After a seek the first delivery will never be settled, and must not hold back commits."""
    progress = Progress()
    for each in (block(0, 5), block(5, 8)):
        progress.deliver(each)
    again = block(0, 7)
    progress.deliver(again)
    again.ticket.settled = True
    assert progress.committable(PLACE) == 7


def test_a_settled_block_is_let_go_with_the_next_delivery() -> None:
    """It holds megabytes; commits are a second apart."""
    progress = Progress()
    first = block(0, 5)
    progress.deliver(first)
    first.ticket.settled = True
    progress.deliver(block(5, 6))
    assert [b.first_offset for b in progress._delivered[PLACE]] == [5]


async def test_a_block_behind_a_gap_is_refused_until_the_gap_proves_real(intake: Intake, stage: Stage) -> None:
    """What a client dropped is read again; what the topic has lost to retention is stepped over."""
    await intake.assigned([PLACE])
    intake.begin({PLACE: 10})
    assert not await intake.take(block(20, 25))
    assert intake.expected() == {PLACE: 10}
    assert await intake.take(block(10, 20))
    assert await intake.take(block(20, 25))
    assert not await intake.take(block(30, 31))
    assert await intake.take(block(30, 31))
    assert stage.told == ["restore", (10, 20), (20, 25), (30, 31)]


async def test_memory_is_kept_over_a_rebalance_unless_another_worker_went_on(intake: Intake, stage: Stage) -> None:
    """Coming back at the offset where we stopped, a model need not learn anew; further on, it must be restored."""
    await intake.assigned([PLACE])
    intake.begin({PLACE: None})
    await intake.take(block(0, 5))
    await intake.assigned([PLACE])
    intake.begin({PLACE: 5})
    await intake.take(block(5, 6))
    await intake.assigned([PLACE])
    intake.begin({PLACE: 9})
    await intake.take(block(9, 10))
    assert stage.told == ["restore", (0, 5), (5, 6), "drop", "restore", (9, 10)]


async def test_a_partition_of_another_worker_is_not_touched(intake: Intake, stage: Stage) -> None:
    """A block that was read before it moved away is left to its new owner."""
    await intake.assigned([PLACE])
    await intake.assigned([])
    late = block(0, 5)
    assert not await intake.take(late)
    assert not late.ticket.settled
    assert stage.told == ["restore", "drop"]


async def test_no_block_is_taken_after_the_close(intake: Intake) -> None:
    """The last commit is the last word."""
    await intake.assigned([PLACE])
    await intake.close()
    assert not await intake.take(block(0, 1))
