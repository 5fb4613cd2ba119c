"""The rows of the catalog, and finding one by its series' canonical hash.

slots int32 (capacity,) is a table of row numbers by open addressing, MISSING where it is empty; the keys are in the rows,
which whoever looks for one wants next anyway.
Source: D. Knuth, The Art of Computer Programming, volume 3, section 6.4, algorithm L (linear probing).
"""

import numpy as np

from anomaly.compiled import fetch, inlined, kernel
from anomaly.decode.index import MISSING

# One row in one place, because whoever needs one column of a series in random order has paid for the others.
ROW = np.dtype([
    ("hash", "u8"),  # Series.hash
    ("wire", "u8"),  # the key on the wire that leads here; never 0 (`index`)
    ("group", "u8"),  # Series.group_hash
    ("until", "i8"),  # data time in ms from which the series is to be announced again; 0: never was
    ("text_at", "i8"),  # `identity.pack`, in the pool
    ("text_len", "u4"),
    ("giant", "u4"),  # its group's number in `giants`; 0: it is none
    ("since", "u4"),  # the epoch in which the row got free, for those who keep row numbers: see `epoch`
    ("partition", "u2"),  # of anomaly.points
    ("writer", "u2"),  # `identity.Placed.writer`
    ("kind", "u1"),  # Kind, or FREE
    ("bounded", "u1"),  # 1: it has bounds
])  # fmt: skip
FREE = 255
AHEAD = 12  # rows for which memory is asked while one is looked at


@inlined
def row_of(hashed, slots, rows):  # type: ignore[no-untyped-def]
    """The row last described under a canonical hash; MISSING if there is none."""
    mask = np.uint64(slots.size - 1)
    slot = hashed & mask
    while slots[slot] != MISSING and rows[slots[slot]].hash != hashed:
        slot = (slot + np.uint64(1)) & mask
    return slots[slot]


@kernel
def find(hashes, slots, rows, out):  # type: ignore[no-untyped-def]
    """Row of each canonical hash into `out`."""
    for i in range(hashes.size):
        out[i] = row_of(hashes[i], slots, rows)


@kernel
def name(new, slots, rows):  # type: ignore[no-untyped-def]
    """Make rows known by their canonical hashes, in order: the row last named stands for its series.

    But a histogram's stale marker comes without bounds, and the series keeps those that it was described with.
    """
    mask = np.uint64(slots.size - 1)
    for r in new:
        slot = rows[r].hash & mask
        while slots[slot] != MISSING and rows[slots[slot]].hash != rows[r].hash:
            slot = (slot + np.uint64(1)) & mask
        if slots[slot] == MISSING or rows[r].bounded or not rows[slots[slot]].bounded:
            slots[slot] = r


@kernel
def named(wanted, rows, hashed, kind, writer):  # type: ignore[no-untyped-def]
    """Three columns of the wanted rows."""
    for i in range(wanted.size):
        if i + AHEAD < wanted.size and wanted[i + AHEAD] != MISSING:
            fetch(rows, wanted[i + AHEAD], 0)
        hashed[i], kind[i], writer[i] = 0, 0, 0
        if wanted[i] != MISSING:
            row = rows[wanted[i]]
            hashed[i], kind[i], writer[i] = row.hash, row.kind, row.writer
