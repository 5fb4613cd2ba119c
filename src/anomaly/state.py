"""What of a state, which is tables of rows (`table`), a checkpoint writes.

A checkpoint has a number, its generation. It holds the rows touched since the one before and, at a cursor that goes round,
of every table as large a share as was touched of all state. So it costs at most twice what was touched, nothing while
nothing happens, and never a full copy; every row is written again by the time that as much as the whole state was touched,
tables that never change included, and what lies before `low`, the oldest generation that still is the last one of some row,
can be thrown away: what is kept is at most about twice the state.
Restored are the generations from `low` on, in order, and then the `rest` of the last one: what is small and written whole.

Rows are copied in two steps, as a virtual machine is moved while it runs. `ahead` copies a slice at a time while judging
goes on, and whatever changes after it was copied is touched once more; `gather` copies that, while nothing may change.
Source: C. Clark et al., Live migration of virtual machines, NSDI 2005 (pre-copy).
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

import msgspec

from anomaly.table import Layout, Part, Table

SLICE = 1 << 19  # bytes copied at once while judging goes on: half a millisecond


class Newer(Exception):
    """A state that a later version of ours wrote: to begin anew would write over it."""


class Versioned(msgspec.Struct):
    """What a small state of any version has; those that say nothing are of the first."""

    version: int = 1


_from_any = msgspec.msgpack.Decoder(Versioned).decode


def refuse_newer(data: bytes, version: int, of: str) -> None:
    """Raises Newer for the MessagePack of a later version than we read, msgspec.DecodeError for what none of ours wrote."""
    if (theirs := _from_any(data).version) > version:
        raise Newer(f"format {theirs} of {of}, and this program reads {version}")


class Snapshot(NamedTuple):
    """What a checkpoint writes, copied: the state may go on changing. `low`: generations before it are dead."""

    parts: list[Part]
    rest: bytes
    low: int


class Stateful(Protocol):
    """What can be kept from one process to the next: a partition's part of a stage."""

    def layouts(self) -> Mapping[str, Layout]:
        """What the bytes of each table mean."""

    def ahead(self, generation: int) -> Iterator[Part]:
        """What changed since the last checkpoint, and a rolling share of the rest, a slice at a time; blocks may be taken
        between two of them. To be called once a checkpoint, at any time; need not be read to its end."""

    def gather(self, generation: int) -> Snapshot:
        """What changed since then, or since the last checkpoint. Called between two blocks."""

    def put(self, generation: int, parts: Iterable[Part], layouts: Mapping[str, Layout]) -> None:
        """Rows that a generation wrote, by the layouts of its writer; called on a fresh state, in order of generations."""

    def settle(self, rest: bytes) -> None:
        """After the last `put`: the rest, and whatever follows from the rows. Raises Newer for what it cannot read yet."""


def ahead(tables: Iterable[Table], generation: int, size: int = SLICE) -> Iterator[Part]:
    """What is touched of all tables, and what has its turn, in parts of about `size` bytes."""
    held = list(tables)
    touched = sum(table.due() * table.row_bytes() for table in held)
    share = touched / max(sum(table.used * table.row_bytes() for table in held), 1.0)
    for table in held:
        table.turn(share)
    for table in held:
        yield from table.slices(generation, size)


def gather(tables: Iterable[Table], generation: int) -> tuple[list[Part], int]:
    """Parts of all tables that have something to write, and the oldest generation that is still needed."""
    held = list(tables)
    parts = [table.gather(generation) for table in held]
    return [p for p in parts if p.rows.size], min((table.low(generation) for table in held), default=generation)
