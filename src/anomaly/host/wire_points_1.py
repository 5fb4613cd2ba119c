"""Blocks of points as records of anomaly.points in version 1, for the time of an upgrade.

As version 2 (`wire_points`), but that columns are as in memory, a bit of the head tells of each whether it is the same
throughout, the announced series are MessagePack of their fields, and nothing is said of writers. `record` is written as it
is, and was the index of the record, not its offset since the first: that is the same where no offset is left out.
"""

import struct
import zlib

import cramjam
import msgspec
import numpy as np

from anomaly.decode.block import Announced, Block
from anomaly.decode.identity import Series
from anomaly.decode.points import constant
from anomaly.decode.records import BadRecord
from anomaly.host.wire_columns import Reader, expand, gathered, padded, with_buckets

HEAD = struct.Struct("<3sBIiqqqqIIHIIH")
CHECKED_FROM = 8
COLUMNS = {
    "series": "u8", "time": "i8", "start": "i8", "value": "f8", "count": "f8", "kind": "u1", "flags": "u1", "record": "i4",
    "bucket_len": "i4",
}  # fmt: skip

_to_series, _from_series = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(list[Series]).decode


def encode(block: Block) -> bytes:
    """The block as one record, however large."""
    points, name, series = block.points, block.source.encode(), _to_series(list(block.series))
    buckets, same, columns = gathered(points), 0, []
    for i, column in enumerate(getattr(points, c) for c in COLUMNS):
        same |= constant(column) << i
        columns.append(padded((column[:1] if constant(column) else column).tobytes()))
    raw = b"".join([padded(name), padded(series), *columns, buckets.tobytes()])
    body = bytes(cramjam.zstd.compress(raw, level=1))
    place = (block.partition, block.offset, block.next_offset, block.heard, block.lateness)
    head = HEAD.pack(b"APB", 1, 0, *place, len(points), buckets.size, len(name), len(series), len(raw), same)
    check = zlib.crc32(body, zlib.crc32(head[CHECKED_FROM:]))
    return head[:4] + check.to_bytes(4, "little") + head[CHECKED_FROM:] + body


def decode(record: bytes, most: int) -> Block:
    """The block in a record, of a body of at most `most` bytes; raises BadRecord for one that is not whole."""
    if len(record) < HEAD.size or zlib.crc32(record[CHECKED_FROM:]) != int.from_bytes(record[4:8], "little"):
        raise BadRecord("bad_checksum")
    _, _, _, partition, offset, next_offset, heard, lateness, n, m, name, series, raw, same = HEAD.unpack_from(record)
    reader = Reader(expand(cramjam.zstd.decompress_into, record[HEAD.size :], raw, most))
    source = reader.take(name, np.uint8).tobytes().decode(errors="replace")
    announced = _announced(reader.take(series, np.uint8).tobytes())
    columns = {
        c: np.full(n, reader.take(1, kind)[0]) if same >> i & 1 and n else reader.take(n, kind)
        for i, (c, kind) in enumerate(COLUMNS.items())
    }
    points = with_buckets(columns, reader.take(m, np.float64))
    return Block(source, partition, offset, next_offset, heard, lateness, points, announced)


def _announced(raw: bytes) -> Announced:
    try:
        return Announced.of(_from_series(raw))
    except msgspec.DecodeError as error:
        raise BadRecord("bad_block", str(error)) from error
