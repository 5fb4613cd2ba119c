"""The records of one Kafka batch (message format 2), decompressed, as ranges over its buffer.

A record is: length, attributes (1 byte), time delta, offset delta, key length, key, value length, value, headers; all
numbers but the attributes are zigzag varints, and a length of -1 is a null. Keys and headers are stepped over.
Source: Apache Kafka documentation, "Message Format", section "Record".
numba does not check bounds: every step is checked against the end of its record by hand.
"""

import numpy as np

from anomaly.compiled import kernel

MALFORMED = -1
LEAST_RECORD = 7  # bytes: each field of an empty record takes one


@kernel
def varint(buffer, at, end):  # type: ignore[no-untyped-def]
    """A zigzag varint and where it ends, or MALFORMED as the end."""
    raw, shift = np.uint64(0), np.uint64(0)
    while at < end and shift < np.uint64(64):
        byte = np.uint64(buffer[at])
        raw |= (byte & np.uint64(0x7F)) << shift
        at += 1
        if byte < np.uint64(0x80):
            return np.int64(raw >> np.uint64(1)) ^ -np.int64(raw & np.uint64(1)), at
        shift += np.uint64(7)
    return np.int64(0), MALFORMED


@kernel
def scan(buffer, at, end, n, base, wanted, first_time, append_time, offset, time, value_at, value_len, k):  # type: ignore[no-untyped-def]
    """Write the records in buffer[at:end] from row `k` on; returns the row after the last one, or MALFORMED.

    `base` is the batch's first offset, records below offset `wanted` are left out; `append_time` >= 0 is the time of all
    records (the broker's clock), else a record's time is `first_time` plus its delta.
    """
    for _ in range(n):
        length, at = varint(buffer, at, end)
        if at < 0 or length < 1 or length > end - at:
            return MALFORMED
        stop = at + length
        later, at = varint(buffer, at + 1, stop)
        if at < 0:
            return MALFORMED
        step, at = varint(buffer, at, stop)
        if at < 0:
            return MALFORMED
        key, at = varint(buffer, at, stop)
        if at < 0 or key > stop - at:
            return MALFORMED
        at += max(key, 0)
        value, at = varint(buffer, at, stop)
        if at < 0 or value > stop - at:
            return MALFORMED
        if base + step >= wanted:
            offset[k] = base + step
            time[k] = append_time if append_time >= 0 else first_time + later
            value_at[k], value_len[k] = at, max(value, -1)
            k += 1
        at = stop
    return k
