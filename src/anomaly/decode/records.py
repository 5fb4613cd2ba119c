"""Raw records as a host hands them over: one block, one source partition, one buffer, no object per record."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

# Compiled scanners load eight bytes at a time; so much must be readable past the last record.
PADDING = 16


class BadRecord(ValueError):
    """A record, or a point in it, that cannot be used. `reason` is a short snake_case word (it labels a counter)."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record set aside, with its original bytes, where it stood and why; `points` of it, or 0: all of it."""

    source: str
    partition: int
    offset: int
    time: int
    reason: str
    detail: str
    value: bytes
    points: int = 0


@dataclass(slots=True)
class Records:
    """`n` records of one partition over one `buffer` (uint8, PADDING readable bytes past the end).

    offset int64 (n,); time int64 (n,) ms since the epoch, as the broker has it, -1 where unknown (files);
    value_at int64 (n,) and value_len int32 (n,) delimit the value in the buffer, length -1 is a null value.
    The block covers [offset[0], next_offset), which may be more than its records (compaction, control records). `epoch`
    tells the source from those that had its name before, 0 where nobody knows.
    """

    source: str
    partition: int
    buffer: NDArray[np.uint8]
    offset: NDArray[np.int64]
    time: NDArray[np.int64]
    value_at: NDArray[np.int64]
    value_len: NDArray[np.int32]
    next_offset: int
    first_offset: int = field(default=-1)
    epoch: int = 0

    def __len__(self) -> int:
        return int(self.offset.size)

    @property
    def readable(self) -> NDArray[np.uint8]:
        """The buffer to read from: always of this one form, or kernels are compiled again for the other."""
        buffer = self.buffer.view()
        buffer.flags.writeable = False
        return buffer

    def value(self, i: int) -> bytes:
        """The bytes of record `i`; empty for a null value."""
        at = int(self.value_at[i])
        return self.buffer[at : at + max(int(self.value_len[i]), 0)].tobytes()

    def dead(self, i: int, error: BadRecord, points: int = 0) -> DeadLetter:
        """Record `i` as a dead letter; `points` of it where the others are good."""
        where = int(self.offset[i]), int(self.time[i])
        return DeadLetter(self.source, self.partition, *where, error.reason, error.detail, self.value(i), points)

    @classmethod
    def of(
        cls, values: Sequence[bytes | None], source: str = "", partition: int = 0, offset: int = 0, time: int = -1
    ) -> "Records":
        """A block of `values`, numbered from `offset`, all with the same broker `time`."""
        size = np.array([-1 if v is None else len(v) for v in values], np.int32)
        held = np.maximum(size, 0).astype(np.int64)
        buffer = np.frombuffer(b"".join(v or b"" for v in values) + bytes(PADDING), np.uint8)
        number = np.arange(offset, offset + len(values), dtype=np.int64)
        at = np.cumsum(held) - held
        return cls(
            source,
            partition,
            buffer,
            number,
            np.full(len(values), time, np.int64),
            at,
            size,
            offset + len(values),
            offset,
        )
