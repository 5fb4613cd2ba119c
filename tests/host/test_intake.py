"""What may be committed, and what a stage is given, without a broker."""

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from tests.host.sums import Summing

from anomaly.config.settings import Checkpoint
from anomaly.decode.records import DeadLetter, Records
from anomaly.host.blocks import Fetched, Place
from anomaly.host.checkpoint import Checkpoints
from anomaly.host.extent import Extent
from anomaly.host.health import Health
from anomaly.host.intake import Intake
from anomaly.host.progress import Progress
from anomaly.host.state_folder import StateFolder

PLACE = Place("t", 0)


def block(first: int, following: int) -> Fetched:
    """A block of records [first, following), each of which holds its offset."""
    made = Records.of([str(offset).encode() for offset in range(first, following)], "t", 0, first)
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


class Brokers:
    """What they say of the only partition's log."""

    def __init__(self, epoch: int = 1, begins: int = 0, ends: int = 1000) -> None:
        self.extent, self.asked = Extent(epoch, begins, ends), 0

    async def look(self, places: Iterable[Place]) -> dict[Place, Extent]:
        self.asked += 1
        return dict.fromkeys(places, self.extent)


@pytest.fixture
def brokers(intake: Intake) -> Brokers:
    made = Brokers()
    intake.gate.look = made.look
    return made


async def test_a_block_behind_a_gap_is_refused_however_often_it_comes(
    intake: Intake, stage: Stage, brokers: Brokers
) -> None:
    """What a client dropped is still in the topic: it is read again, not given up."""
    await intake.assigned([PLACE])
    intake.begin({PLACE: 10})
    for _ in range(3):
        assert not await intake.take(block(20, 25))
        assert intake.expected() == {PLACE: 10}
    assert await intake.take(block(10, 20))
    assert await intake.take(block(20, 25))
    assert stage.told == ["restore", (10, 20), (20, 25)]


async def test_what_is_past_its_retention_is_jumped_over_and_no_more(intake: Intake, stage: Stage, brokers: Brokers) -> None:
    """Counted to where the log begins, not to where the client happens to be."""
    await intake.assigned([PLACE])
    intake.begin({PLACE: 10})
    brokers.extent = Extent(1, 28, 1000)
    assert not await intake.take(block(30, 31))
    assert intake.expected() == {PLACE: 28}
    assert await intake.take(block(28, 30))
    assert await intake.take(block(30, 31))
    assert stage.told == ["restore", (28, 30), (30, 31)]
    assert intake.health.registry.get_sample_value("anomaly_records_lost_total", {"stage": "decode"}) == 18


@pytest.mark.parametrize("now", [Extent(2, 0, 1000), Extent(2, 0, 3), Extent(1, 0, 3), Extent(0, 0, 3)])
async def test_a_log_that_began_anew_is_read_from_its_beginning(
    intake: Intake, stage: Stage, brokers: Brokers, now: Extent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another topic of the name, whether it has passed our offset or not, or the same one cut off below it."""
    monkeypatch.setattr("anomaly.host.gate.SURE", 0.0)
    await intake.assigned([PLACE])
    intake.begin({PLACE: 10})
    assert await intake.take(block(10, 20))
    brokers.extent = now
    assert await intake.take(block(0, 3))
    assert await intake.take(block(3, 4))
    assert stage.told == ["restore", (10, 20), (0, 3), (3, 4)]
    assert intake.health.registry.get_sample_value("anomaly_topic_anew_total", {"stage": "decode"}) == 1


async def test_a_topic_that_was_made_anew_while_nothing_came_out_of_turn_is_noticed(
    intake: Intake, stage: Stage, brokers: Brokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its new log has passed our offset: the client reads on in the middle of it."""
    monkeypatch.setattr("anomaly.host.intake.ASK_EVERY", 0.0)
    await intake.assigned([PLACE])
    intake.begin({PLACE: 10})
    assert await intake.take(block(10, 20))
    brokers.extent = Extent(2, 0, 1000)
    async with asyncio.timeout(10):
        while intake.expected() != {PLACE: 0}:
            await asyncio.sleep(0)
    assert not await intake.take(block(20, 25))
    assert await intake.take(block(0, 20))
    assert stage.told == ["restore", (10, 20), (0, 20)]
    await intake.close()


async def test_the_brokers_are_not_asked_while_all_follows(intake: Intake, brokers: Brokers) -> None:
    """Nor more than once where a log is read from its beginning up to what was taken."""
    await intake.assigned([PLACE])
    asked = brokers.asked
    for first in range(0, 100, 10):
        assert await intake.take(block(first, first + 10))
    assert brokers.asked == asked


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


def summing(folder: Path) -> tuple[Summing, Intake]:
    """A worker whose state is kept in a folder that others have as well."""
    stage, health = Summing("t"), Health()
    checkpoints = Checkpoints("sums", lambda place: StateFolder(folder), Checkpoint(every=0.0), health)
    return stage, Intake(stage, nowhere, health, checkpoints)


async def test_a_checkpoint_written_after_we_looked_is_not_taken_for_lost(tmp_path: Path) -> None:
    """Whoever joins first is given everything for a moment, and may not notice that another had it in between."""
    stage, intake = summing(tmp_path)
    await intake.assigned([PLACE])
    _, other = summing(tmp_path)
    await other.assigned([PLACE])
    await other.take(block(0, 5))
    await other.close()
    intake.begin({PLACE: 5})
    assert await intake.take(block(5, 8))
    alone, undisturbed = summing(tmp_path / "alone")
    await undisturbed.assigned([PLACE])
    await undisturbed.take(block(0, 8))
    assert stage.sums[PLACE].digest() == alone.sums[PLACE].digest()
    assert lost(intake) == 0
    await intake.close()
    await undisturbed.close()


async def test_a_checkpoint_that_is_gone_is_told_once_and_the_rest_is_judged(tmp_path: Path) -> None:
    """The group has an offset, so there was one."""
    await goes_on_without(tmp_path, rebalances=2)


async def test_a_checkpoint_that_is_damaged_is_told_once(tmp_path: Path) -> None:
    """It was there, so it is not missing as well."""
    _, first = summing(tmp_path)
    await first.assigned([PLACE])
    await first.take(block(0, 5))
    await first.close()
    for file in tmp_path.glob("*.state"):
        file.write_bytes(bytes(file.stat().st_size))
    await goes_on_without(tmp_path, rebalances=1)


async def goes_on_without(folder: Path, rebalances: int) -> None:
    """A group that has an offset, and no checkpoint that can be read: what follows is judged, and the loss counted once."""
    stage, intake = summing(folder)
    for _ in range(rebalances):
        await intake.assigned([PLACE])
        intake.begin({PLACE: 5})
        await intake.take(block(5, 8))
    assert [offset for _, offset in stage.taken] == [5, 6, 7]
    assert lost(intake) == 1
    await intake.close()


def lost(intake: Intake) -> float:
    return intake.health.registry.get_sample_value("anomaly_state_lost_total", {"stage": "sums"}) or 0.0
