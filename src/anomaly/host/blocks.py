"""Blocks instead of records out of aiokafka: the bytes of a fetch, decompressed and scanned into flat arrays.

aiokafka makes an object per record, which bounds a core below a million records a second. A consumer whose
`value_deserializer` is BLOCKS gives `Fetched` blocks instead; every other consumer in the process is untouched. It leans
on three internals of aiokafka 0.14 (each has a test): the names `MemoryRecords` and `PartitionRecords` in
`aiokafka.consumer.fetcher`, how they are called there, and that `next_fetch_offset` becomes the position.
"""

import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import cramjam
import numpy as np
from aiokafka.consumer import fetcher
from aiokafka.record._crecords.cutil import crc32c_cython
from numpy.typing import NDArray

from anomaly.decode.records import PADDING, DeadLetter, Records
from anomaly.host.record_scan import LEAST_RECORD, MALFORMED, scan

# Decompressed bytes after which a block is closed: large enough that what a block costs is small beside its records,
# small enough that one is judged in some tens of milliseconds. The last batch may run over it.
BLOCK_BYTES = 4 << 20
# Of one batch, decompressed. Producers make batches of at most 1 MB unless told otherwise; a bomb stops here.
BATCH_BYTES = 64 << 20

HEADER = struct.Struct(">qiibIhiqqqhii")  # base offset … record count, 61 bytes
CRC_FROM = 21
CODEC, APPEND_TIME, TRANSACTIONAL, CONTROL = 0x07, 0x08, 0x10, 0x20
XERIAL = b"\x82SNAPPY\x00"
ABORT = 0


class Damaged(Exception):
    """A batch that cannot be read; the message is the reason, a short snake_case word."""


class Header(NamedTuple):
    """The head of a record batch, as on the wire."""

    base: int
    length: int
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last: int
    first_time: int
    max_time: int
    producer: int
    producer_epoch: int
    sequence: int
    records: int


class Place(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int


@dataclass(slots=True)
class Ticket:
    """Whether a range of offsets is dealt with. It outlives its block, which is megabytes."""

    first_offset: int
    next_offset: int
    settled: bool = False
    parts: list["Ticket"] = field(default_factory=list)  # of what was taken one by one instead of the whole

    def is_settled(self) -> bool:
        """Whether the range, or all parts of it, are dealt with."""
        return self.settled or (bool(self.parts) and all(part.settled for part in self.parts))


@dataclass(slots=True)
class Fetched(Records):
    """A block as fetched from a topic, the batches in its range that could not be read, and its ticket."""

    damaged: list[DeadLetter] = field(default_factory=list)
    ticket: Ticket = field(init=False)

    def __post_init__(self) -> None:
        self.ticket = Ticket(self.first_offset, self.next_offset)

    @property
    def place(self) -> Place:
        """Where it was read."""
        return Place(self.source, self.partition)


class Scratch(threading.local):
    """Room to decompress the batches of a block; grown pages stay, so a small batch costs no allocation.

    A room for each thread: every stage reads in one of its own, and who decompresses lets the others run.
    """

    def __init__(self) -> None:
        self.room = np.empty(BLOCK_BYTES + BATCH_BYTES, np.uint8)

    def expand(self, codec: int, body: memoryview, begin: int) -> NDArray[np.uint8]:
        """The decompressed body, written to the room from `begin` on; raises Damaged for what is broken or too large."""
        if codec == 0:
            return np.frombuffer(body, np.uint8)
        room = self.room[begin : begin + BATCH_BYTES]
        try:
            return room[: self._into(codec, body, room.data)]
        except (cramjam.DecompressionError, ValueError, OSError, struct.error) as error:
            raise Damaged(
                "too_large" if "whole buffer" in str(error) or "smaller" in str(error) else "undecodable"
            ) from error

    def _into(self, codec: int, body: memoryview, room: memoryview) -> int:
        if codec == 2:
            return self._snappy(body, room)
        into = {1: cramjam.gzip.decompress_into, 3: cramjam.lz4.decompress_into, 4: cramjam.zstd.decompress_into}
        if codec not in into:
            raise Damaged("unknown_codec")
        return int(into[codec](body, room))

    def _snappy(self, body: memoryview, room: memoryview) -> int:
        """Plain snappy, or the framing that Java producers put around it: 16 bytes, then (length, block) pairs."""
        if bytes(body[: len(XERIAL)]) != XERIAL:
            return int(cramjam.snappy.decompress_raw_into(body, room))
        at, n = 16, 0
        while at < len(body):
            size = struct.unpack_from(">i", body, at)[0]
            if not 0 <= size <= len(body) - at - 4:
                raise Damaged("undecodable")
            n += int(cramjam.snappy.decompress_raw_into(body[at + 4 : at + 4 + size], room[n:]))
            at += 4 + size
        return n


SCRATCH = Scratch()


class Part(NamedTuple):
    """A batch ready to be scanned: its decompressed body, valid until its block is made, and the whole as it was fetched."""

    header: Header
    data: NDArray[np.uint8]
    batch: memoryview


class BlockReader:
    """Iterates the blocks of one fetch of one partition; stands where aiokafka has PartitionRecords."""

    def __init__(
        self, place: Any, raw: bytes, aborted: Any, position: int, check_crc: bool = True, committed: bool = False
    ) -> None:
        self.topic, self.partition = place
        self.raw, self.at = memoryview(raw), 0
        self.next_fetch_offset = position
        self.check_crc, self.committed = check_crc, committed
        self._aborted = sorted(aborted or (), key=lambda pair: pair[1])
        self._aborting: set[int] = set()

    def __iter__(self) -> Iterator[Fetched]:
        return self

    def __next__(self) -> Fetched:
        """The next block; it may hold no record and only move on (aborted, control or damaged batches)."""
        first, parts, damaged, size = self.next_fetch_offset, [], [], 0
        while size < BLOCK_BYTES and (header := self._header()) is not None:
            batch = self.raw[self.at : self.at + 12 + header.length]
            self.at += len(batch)
            try:
                part = self._open(header, batch, size)
                after = header.base + header.last + 1
            except Damaged as error:
                part, after = None, self._after(header)
                damaged.append(self._dead(header, str(error), batch))
            if part is not None:
                parts.append(part)
                size += part.data.size
            self.next_fetch_offset = max(after, self.next_fetch_offset)
        if self.next_fetch_offset == first:
            raise StopIteration
        return self._block(first, parts, size, damaged)

    def _header(self) -> Header | None:
        """The head of the next whole batch; a fetch may end within one."""
        if self.at + HEADER.size > len(self.raw):
            return None
        header = Header(*HEADER.unpack_from(self.raw, self.at))
        whole = HEADER.size - 12 <= header.length <= len(self.raw) - self.at - 12
        return header if whole else None

    def _open(self, header: Header, batch: memoryview, size: int) -> Part | None:
        """The batch, checked and decompressed behind `size` bytes of others; None where it holds nothing for a reader."""
        if header.magic != 2:
            raise Damaged("old_format")
        if self.check_crc and crc32c_cython(batch[CRC_FROM:]) != header.crc:
            raise Damaged("bad_crc")
        if self._skip(header, batch) or header.records == 0:
            return None
        codec = header.attributes & CODEC
        data = SCRATCH.expand(codec, batch[HEADER.size :], size)
        if not 0 < header.records <= data.size // LEAST_RECORD:
            raise Damaged("bad_record")
        return Part(header, data, batch)

    def _skip(self, header: Header, batch: memoryview) -> bool:
        """Whether the batch is a control batch or part of an aborted transaction (for a reader of committed records)."""
        if self.committed and header.producer >= 0:
            while self._aborted and self._aborted[0][1] <= header.base:
                self._aborting.add(self._aborted.pop(0)[0])
        if header.attributes & CONTROL:
            if _marker(batch[HEADER.size :]) == ABORT:
                self._aborting.discard(header.producer)
            return True
        return bool(header.attributes & TRANSACTIONAL) and header.producer in self._aborting

    def _after(self, header: Header) -> int:
        """Where to read on after a damaged batch: at the next one, else past it if its head makes sense, else one on."""
        following = self._header()
        if following is not None and following.base > header.base:
            return following.base
        return header.base + 1 + (header.last if 1 <= header.records <= header.last + 1 <= 1 << 20 else 0)

    def _dead(self, header: Header, reason: str, batch: memoryview) -> DeadLetter:
        detail = f"batch of {header.records} records"
        return DeadLetter(self.topic, self.partition, header.base, header.max_time, reason, detail, bytes(batch))

    def _block(self, first: int, parts: list[Part], size: int, damaged: list[DeadLetter]) -> Fetched:
        buffer = np.empty(size + PADDING, np.uint8)
        buffer[size:] = 0
        n = sum(part.header.records for part in parts)
        offset, time, value_at = (np.empty(n, np.int64) for _ in range(3))
        value_len = np.empty(n, np.int32)
        at = k = 0
        for head, data, batch in parts:
            end = at + data.size
            buffer[at:end] = data
            append_time = head.max_time if head.attributes & APPEND_TIME else -1
            rows = (offset, time, value_at, value_len)
            reached = scan(buffer, at, end, head.records, head.base, first, head.first_time, append_time, *rows, k)
            if reached == MALFORMED:
                damaged.append(self._dead(head, "bad_record", batch))
            else:
                k = reached
            at = end
        columns = (offset[:k], time[:k], value_at[:k], value_len[:k])
        return Fetched(self.topic, self.partition, buffer, *columns, self.next_fetch_offset, first, damaged=damaged)


def _marker(body: memoryview) -> int:
    """The type of a control batch (0: the transaction was aborted), in the second half of its record's key; -1: unreadable.

    length, attributes, time delta, offset delta and key length are one byte each in the record of a marker.
    """
    if len(body) < 9 or body[4] >> 1 < 4:
        return -1
    return int(struct.unpack_from(">h", body, 7)[0])


def BLOCKS(value: bytes) -> bytes:  # noqa: N802 (a mark, not a function to call)
    """As `value_deserializer` of a consumer: give blocks, not records."""
    return value


class RawRecords(fetcher.MemoryRecords):  # type: ignore[misc]
    """aiokafka's reader of a fetch that still knows the bytes it was made from."""

    def __init__(self, raw: bytes) -> None:
        super().__init__(raw)
        self.raw = raw


_PartitionRecords = fetcher.PartitionRecords


def _partition_records(
    place: Any, records: Any, aborted: Any, position: int, key: Any, value: Any, check_crcs: bool, isolation: int
) -> Any:
    if value is BLOCKS:
        return BlockReader(place, records.raw, aborted, position, check_crcs, isolation == fetcher.READ_COMMITTED)
    return _PartitionRecords(place, records, aborted, position, key, value, check_crcs, isolation)


def install() -> None:
    """Let consumers with BLOCKS read blocks, in this process."""
    fetcher.MemoryRecords, fetcher.PartitionRecords = RawRecords, _partition_records
