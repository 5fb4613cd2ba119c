"""Blocks of points as records of anomaly.points, and back.

A record is a head and a zstd body. Head, little-endian: magic "APB", version, CRC-32 of everything behind it, input
partition, offset, next offset, heard, lateness, points, buckets, bytes of the source's name, bytes of the announced
series, decompressed bytes of the body, and a bit per column that holds one value throughout (that is then sent once).
The body: name, series (MessagePack, because a bucket's bound may be infinite and JSON has no word for it), then the
columns, each from a multiple of eight bytes on. `bucket_at` is not sent: the buckets are gathered in order of points.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import cramjam
import msgspec
import numpy as np
from numpy.typing import NDArray

from anomaly.decode.block import Announced, Block
from anomaly.decode.points import Points
from anomaly.decode.records import BadRecord

MAGIC, VERSION = b"APB", 1
HEAD = struct.Struct("<3sBIiqqqqIIHIIH")
CHECKED_FROM = 8

# Brokers refuse more than 1 MB in a record unless told otherwise.
LARGEST = 900_000
# Decompressed, of one record; a reader allocates no more, whatever a head claims. Decode cuts above it.
LARGEST_BODY = 64 << 20

COLUMNS = ("series", "time", "start", "value", "count", "kind", "flags", "record", "bucket_len")
KINDS = tuple(np.dtype(k) for k in ("u8", "i8", "i8", "f8", "f8", "u1", "u1", "i4", "i4"))

_series_to = msgspec.msgpack.Encoder()
_series_from = msgspec.msgpack.Decoder(tuple[list[int], list[bytes]])


def encode(block: Block) -> list[bytes]:
    """The block as one record; as several where it would be too large for a broker.

    Only the last of several says how far the source was heard, and series are announced before their points. Raises
    BadRecord where not even one point or series goes into a record.
    """
    if len(block.points) * 64 <= LARGEST_BODY and len(data := _encode(block)) <= LARGEST:
        return [data]
    return [data for part in _halves(block) for data in encode(part)]


def _halves(block: Block) -> Iterator[Block]:
    points, series = block.points, block.series
    if len(points) and len(series):
        yield replace(block, heard=0, points=Points.empty())
        yield replace(block, series=Announced())
    elif max(len(points), len(series)) < 2:
        raise BadRecord("too_large", f"one point or series does not go into a record of {LARGEST} bytes")
    else:
        p, s = len(points) // 2, len(series) // 2
        yield replace(block, heard=0, points=points.take(slice(None, p)), series=Announced(series.hash[:s], series.text[:s]))
        yield replace(block, points=points.take(slice(p, None)), series=Announced(series.hash[s:], series.text[s:]))


def _encode(block: Block) -> bytes:
    points, name, series = (
        block.points,
        block.source.encode(),
        _series_to.encode((block.series.hash.tolist(), list(block.series.text))),
    )
    buckets = _gathered(points)
    constant, columns = 0, []
    for i, column in enumerate(getattr(points, c) for c in COLUMNS):
        same = column.size > 0 and bool((column.view(f"u{column.itemsize}") == column.view(f"u{column.itemsize}")[0]).all())
        constant |= same << i
        columns.append(_padded((column[:1] if same else column).tobytes()))
    raw = b"".join([_padded(name), _padded(series), *columns, buckets.tobytes()])
    body = bytes(cramjam.zstd.compress(raw, level=1))
    place = (block.partition, block.offset, block.next_offset, block.heard, block.lateness)
    sizes = (len(points), buckets.size, len(name), len(series), len(raw), constant)
    head = HEAD.pack(MAGIC, VERSION, 0, *place, *sizes)
    check = zlib.crc32(body, zlib.crc32(head[CHECKED_FROM:]))
    return head[:4] + check.to_bytes(4, "little") + head[CHECKED_FROM:] + body


def _gathered(points: Points) -> NDArray[np.float64]:
    """The buckets of these points alone, one point after the other."""
    size = points.bucket_len.astype(np.int64)
    if not size.any():
        return np.zeros(0)
    before = np.cumsum(size) - size
    index = np.arange(int(size.sum())) + np.repeat(points.bucket_at - before, size)
    gathered: NDArray[np.float64] = points.buckets[index]
    return gathered


def _padded(raw: bytes) -> bytes:
    return raw + bytes(-len(raw) % 8)


def decode(record: bytes) -> Block:
    """The block in a record; raises BadRecord for one that is not whole, or of a version that we do not know."""
    if len(record) < HEAD.size or record[:3] != MAGIC:
        raise BadRecord("not_a_block", "no block of points begins like this")
    _, version, check, partition, offset, next_offset, heard, lateness, n, m, name, series, raw, constant = HEAD.unpack_from(
        record
    )
    if version != VERSION:
        raise BadRecord("unknown_version", f"version {version}, this program reads {VERSION}: update it")
    if zlib.crc32(record[CHECKED_FROM:]) != check:
        raise BadRecord("bad_checksum")
    reader = _Body(_expand(record[HEAD.size :], raw))
    source = reader.take(name, np.dtype("u1")).tobytes().decode()
    announced = _announced(reader.take(series, np.dtype("u1")).tobytes())
    columns = [reader.column(n, kind, bool(constant >> i & 1)) for i, kind in enumerate(KINDS)]
    size = columns[-1].astype(np.int64)
    buckets = reader.take(m, np.dtype("f8"))
    if n and (size.min() < 0 or int(size.sum()) != m):
        raise BadRecord("bad_block", "buckets do not add up")
    points = Points(*columns[:-1], np.cumsum(size) - size, columns[-1], buckets)  # type: ignore[call-arg]
    return Block(source, partition, offset, next_offset, heard, lateness, points, announced)


def _announced(raw: bytes) -> Announced:
    try:
        hashes, text = _series_from.decode(raw)
        return Announced(np.array(hashes, np.uint64), text)
    except msgspec.DecodeError as error:
        raise BadRecord("bad_block", str(error)) from error


def _expand(body: bytes, size: int) -> NDArray[np.uint8]:
    if size > LARGEST_BODY:
        raise BadRecord("bad_block", f"{size} bytes when decompressed")
    room = np.empty(size, np.uint8)
    try:
        if cramjam.zstd.decompress_into(body, room.data) == size:
            return room
    except cramjam.DecompressionError as error:
        raise BadRecord("bad_block", str(error)) from error
    raise BadRecord("bad_block", "body is short")


class _Body:
    """Takes the parts of a body one after the other."""

    def __init__(self, raw: NDArray[np.uint8]) -> None:
        self.raw, self.at = raw, 0

    def take(self, n: int, kind: np.dtype[Any]) -> NDArray[Any]:
        end = self.at + n * kind.itemsize
        if end > self.raw.size:
            raise BadRecord("bad_block", "columns are short")
        part = self.raw[self.at : end].view(kind)
        self.at = end + -end % 8
        return part

    def column(self, n: int, kind: np.dtype[Any], constant: bool) -> NDArray[Any]:
        return np.full(n, self.take(1, kind)[0]) if constant and n else self.take(n, kind)
