"""What reads Kafka, apart from which client reads, and the stage that it reads for.

An adapter (Faust transport or plain consumer) tells an `Intake` what it is assigned and hands it blocks.
"""

from collections.abc import Sequence
from typing import Protocol

from anomaly.host.blocks import Fetched, Place
from anomaly.state import Stateful

COMMIT_EVERY = 1.0  # seconds: what is read again after a crash
WAITING_BLOCKS = 4  # per topic, read and not taken yet: keeps a stage busy, bounds memory to some tens of megabytes
# The longest a fetch waits at the broker. While one is out, aiokafka sends no other to that broker: a long wait for
# quiet partitions would hold back the busy ones.
FETCH_WAIT = 0.05
FETCH_BYTES = 4 << 20  # of a partition, at once
# Without a sign of life for so long a worker is dead, and its partitions go to others; a block takes tens of milliseconds.
SESSION, HEARTBEAT = 10.0, 3.0
REBALANCE = 60.0  # what a worker has to finish its blocks in hand when another joins


class Stage(Protocol):
    """A step of the walk: blocks of some topics in, records of other topics out."""

    name: str
    topics: tuple[str, ...]
    reads_sources: bool  # not ours but the users' topics: their silence is blindness
    keeps_state: bool  # checkpoints are made of it
    settles_later: bool  # sets `settled` of a block itself, some time after it was taken

    def state(self, place: Place) -> Stateful | None:
        """The fresh state of a partition, where checkpoints are to be made of it."""

    async def restore(self, places: Sequence[Place]) -> None:
        """Bring back what must be remembered about partitions of which there is no checkpoint, before their first block."""

    def drop(self, place: Place) -> None:
        """Forget a partition."""

    async def take(self, block: Fetched) -> int:
        """Work off a block; returns its number of points (or events, alerts). Its outputs may still be on their way."""

    def report(self) -> None:
        """Tell health, now and then, what is nobody's event."""

    async def sent(self) -> None:
        """Return when all outputs of the blocks that were taken are on the brokers; raises if they refuse one."""

    async def finish(self) -> None:
        """No other block will come: settle what can be settled, before the last commit."""


class Source(Protocol):
    """Reads the topics of an Intake's stage in a consumer group of its own, until stopped."""

    async def run(self) -> None:
        """Read until `stop`; raises what made it impossible to go on."""

    async def stop(self) -> None:
        """Finish the blocks in hand, commit and leave the group."""

    def lag(self) -> dict[Place, int]:
        """Records not yet read, by assigned partition."""
