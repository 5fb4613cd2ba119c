"""Blocks of points as records of anomaly.points, and back.

A record is a head and a body, which is compressed as one lz4 block: a third of the time that zstd takes, for a
twentieth more bytes. Head, little-endian: magic "APB", version, CRC-32 of everything behind it, input partition,
offset, next offset, heard, lateness, points, buckets, announced series, bytes of their texts, bytes of the source's
name, bytes of the body when decompressed, and how each column of COLUMNS is written (`wire_columns`). The body: hashes
of the announced series, lengths of their texts, the columns, the buckets, the texts, the name, the epoch (uint64); each
from a multiple of eight bytes on. The epoch came later: it may be missing, and who does not know it reads over it.
`bucket_at` is not sent: the buckets are gathered in order of points.

Version 1 is read as well, and written where the configuration says so, for as long as a worker that knows no other reads
the same topic. A version that we do not know is refused by its name, not guessed.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace

import cramjam
import numpy as np
from numpy.typing import NDArray

from anomaly.decode.block import Announced, Block
from anomaly.decode.records import BadRecord
from anomaly.decode.texts import Strung
from anomaly.host import wire_points_1
from anomaly.host.wire_columns import Reader, expand, gathered, packed, padded, shuffled, with_buckets

MAGIC, VERSION = b"APB", 2
COLUMNS = {
    "series": "u8", "time": "i8", "start": "i8", "value": "f8", "count": "f8", "kind": "u1", "flags": "u1", "record": "i4",
    "bucket_len": "i4", "writer": "u2",
}  # fmt: skip
HEAD = struct.Struct(f"<3sBIiqqqqIIIIHI{len(COLUMNS)}B")
CHECKED_FROM = 8

# Brokers refuse more than 1 MB in a record unless told otherwise.
LARGEST = 900_000
# Bytes of one record decompressed, and of a point but for its buckets. A reader allocates no more, whatever a head claims;
# who writes cuts above it.
LARGEST_BODY, POINT = 64 << 20, 64


def encode(block: Block, version: int = VERSION) -> list[bytes]:
    """The block as one record; as several where it would be too large for a broker.

    Only the last of several says how far the source was heard. Raises BadRecord where not even one point or series goes
    into a record.
    """
    write = _encode if version == VERSION else wire_points_1.encode
    if len(block.points) * POINT <= LARGEST_BODY and len(data := write(block)) <= LARGEST:
        return [data]
    return [data for part in _halves(block) for data in encode(part, version)]


def _halves(block: Block) -> Iterator[Block]:
    """Two parts, each with the range of its records, and the series announced that come in it first.

    Where one record is cut in two, the first part ends before that record: if no more than that arrives, all of the record
    is sent again, and its points that come twice are recognised by their times.
    """
    points, series, n = block.points, block.series, len(block.points)
    if max(n, len(series)) < 2:
        raise BadRecord("too_large", f"one point or series does not go into a record of {LARGEST} bytes")
    cut, record = n // 2, int(points.record[n // 2]) if n else 0
    if n > 1:
        edges = [int(np.searchsorted(points.record, record, side)) for side in ("left", "right")]
        cut = next((edge for edge in edges if 0 < edge < n), cut)
        record = int(points.record[cut])
    first, second = points.take(slice(None, cut)), points.take(slice(cut, None))
    second.record = second.record - np.int32(record)
    early = np.isin(series.hash, first.series) if n > 1 else np.arange(len(series)) < len(series) // 2
    middle = block.offset + record
    yield replace(block, next_offset=middle, heard=0, points=first, series=_some(series, early))
    yield replace(block, offset=middle, points=second, series=_some(series, ~early))


def _some(series: Announced, which: NDArray[np.bool_]) -> Announced:
    return Announced(series.hash[which], [series.text[i] for i in np.flatnonzero(which).tolist()])


def _encode(block: Block) -> bytes:
    points, name, texts = block.points, block.source.encode(), Strung.of(block.series.text)
    buckets = gathered(points)
    tail = (padded(name), block.epoch.to_bytes(8, "little")) if block.epoch else (name,)
    hows, parts = [], [block.series.hash.tobytes(), texts.size.tobytes()]
    for column in COLUMNS:
        how, written = packed(getattr(points, column))
        hows.append(how)
        parts += written
    raw = b"".join([*parts, shuffled(buckets), padded(texts.raw.tobytes()), *tail])
    body = bytes(cramjam.lz4.compress_block(raw))
    place = (block.partition, block.offset, block.next_offset, block.heard, block.lateness)
    sizes = (len(points), buckets.size, len(block.series), texts.raw.size, len(name), len(raw))
    head = HEAD.pack(MAGIC, VERSION, 0, *place, *sizes, *hows)
    check = zlib.crc32(body, zlib.crc32(head[CHECKED_FROM:]))
    return head[:4] + check.to_bytes(4, "little") + head[CHECKED_FROM:] + body


def decode(record: bytes) -> Block:
    """The block in a record; raises BadRecord for one that is not whole, or of a version that we do not know."""
    if len(record) < CHECKED_FROM or record[:3] != MAGIC:
        raise BadRecord("not_a_block", "no block of points begins like this")
    if record[3] == 1:
        return wire_points_1.decode(record, LARGEST_BODY)
    if record[3] != VERSION:
        raise BadRecord("unknown_version", f"version {record[3]}, this program reads up to {VERSION}: update it")
    if len(record) < HEAD.size or zlib.crc32(record[CHECKED_FROM:]) != int.from_bytes(record[4:8], "little"):
        raise BadRecord("bad_checksum")
    _, _, _, partition, offset, next_offset, heard, lateness, n, m, new, texts, name, raw, *hows = HEAD.unpack_from(record)
    if n * POINT > LARGEST_BODY:
        raise BadRecord("bad_block", f"{n} points")
    reader = Reader(expand(cramjam.lz4.decompress_block_into, record[HEAD.size :], raw, LARGEST_BODY))
    hashes, sizes = reader.take(new, np.uint64), reader.take(new, np.int64)
    columns = {c: reader.column(how, n, kind) for how, (c, kind) in zip(hows, COLUMNS.items(), strict=True)}
    points = with_buckets(columns, reader.floats(m))
    text = reader.take(texts, np.uint8)
    if new and (sizes.min() < 0 or int(sizes.sum()) != texts):
        raise BadRecord("bad_block", "texts do not add up")
    announced = Announced(hashes, Strung(text, sizes))
    source = reader.take(name, np.uint8).tobytes().decode(errors="replace")
    epoch = int(reader.take(1, np.int64)[0]) if reader.has(8) else 0
    return Block(source, partition, offset, next_offset, heard, lateness, points, announced, epoch)
