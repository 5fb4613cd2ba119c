"""Snappy-compressed requests of a block, decompressed side by side in one buffer."""

from collections.abc import Iterator
from dataclasses import dataclass

import cramjam
import numpy as np
from numpy.typing import NDArray

from anomaly.decode.records import PADDING, BadRecord, DeadLetter, Records

# Decompressed bytes that are scanned in one go: many requests, so that what a scan costs is small beside their samples.
TOGETHER = 4 << 20


@dataclass(slots=True)
class Bodies:
    """Requests over one `buffer` uint8, PADDING readable bytes past the last; valid until the next ones are asked for.

    at, size int64 (r,) delimit them; record int32 (r,) is the index of each one's record.
    """

    buffer: NDArray[np.uint8]
    at: NDArray[np.int64]
    size: NDArray[np.int64]
    record: NDArray[np.int32]

    def bytes(self, first: int, end: int) -> bytes:
        """What stands in [first, end) of the buffer."""
        return self.buffer[first:end].tobytes()


class Decompressor:
    """Decompresses the records of blocks, each to at most `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._room: NDArray[np.uint8] = np.empty(0, np.uint8)  # grown pages stay

    def bodies(self, records: Records, dead: list[DeadLetter]) -> Iterator[Bodies]:
        """The requests of a block, some at a time, in order; what is broken or too large goes to `dead`."""
        held: list[tuple[int, int]] = []
        total = 0
        for i in np.flatnonzero(records.value_len > 0).tolist():
            try:
                size = self._size(records, i)
            except BadRecord as error:
                dead.append(records.dead(i, error))
                continue
            if held and total + size > TOGETHER:
                yield self._together(records, held, dead)
                held, total = [], 0
            held.append((i, size))
            total += size
        if held:
            yield self._together(records, held, dead)

    def _size(self, records: Records, i: int) -> int:
        """The claimed size of a request, judged before a byte of it is decompressed."""
        try:
            size = int(cramjam.snappy.decompress_raw_len(value(records, i)))
        except cramjam.DecompressionError as error:
            raise BadRecord("bad_compression", str(error)) from None
        if size > self.limit:
            raise BadRecord("too_large", f"{size} bytes decompressed, over {self.limit}")
        return size

    def _together(self, records: Records, held: list[tuple[int, int]], dead: list[DeadLetter]) -> Bodies:
        room = sum(size for _, size in held) + PADDING
        if room > self._room.size:
            self._room = np.empty(max(room, TOGETHER + PADDING), np.uint8)
        good, at = [], 0
        for i, size in held:
            try:
                cramjam.snappy.decompress_raw_into(value(records, i), self._room[at : at + size].data)
            except cramjam.DecompressionError as error:
                dead.append(records.dead(i, BadRecord("bad_compression", str(error))))
                continue
            good.append((i, at, size))
            at += size
        columns = np.array(good, np.int64).reshape(-1, 3)
        buffer = self._room
        if buffer.size > 2 * (TOGETHER + PADDING):  # one of many megabytes is not kept
            self._room = np.empty(0, np.uint8)
        place, size_of = np.ascontiguousarray(columns[:, 1]), np.ascontiguousarray(columns[:, 2])
        return Bodies(buffer, place, size_of, columns[:, 0].astype(np.int32))


def value(records: Records, i: int) -> memoryview:
    """The bytes of record `i`, not copied."""
    at = int(records.value_at[i])
    return records.buffer[at : at + int(records.value_len[i])].data
