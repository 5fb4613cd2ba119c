"""Key -> row, where the keys are a column of the table itself.

slots int32 (capacity,) holds a row + 1, 0 where it is empty. The capacity is a power of two of which at most two thirds are
taken. A key is never 0: that is what a free row has. Nothing is ever taken out; who sets rows free builds the index anew.
Source: D. Knuth, The Art of Computer Programming, volume 3, section 6.4, algorithm L (linear probing).
"""

import numpy as np
from numpy.typing import NDArray

from anomaly.compiled import bare, fetch, inlined, kernel

MISSING = -1
AHEAD = 12  # keys by which a slot is asked for before its turn, twice as far as the row that it leads to


@inlined
def slot_of(slots, keys, key):  # type: ignore[no-untyped-def]
    """The slot of a key, or the empty one where it would be put."""
    mask = np.uint64(slots.size - 1)
    slot = key & mask
    while slots[slot] != 0 and keys[slots[slot] - 1] != key:
        slot = (slot + np.uint64(1)) & mask
    return slot


@bare
def find(wanted, slots, keys, out):  # type: ignore[no-untyped-def]
    """Row of each key into `out`, MISSING where it is not known; returns how many are missing."""
    mask, missing = np.uint64(slots.size - 1), 0
    for i in range(wanted.size):
        if i + 2 * AHEAD < wanted.size:
            fetch(slots, wanted[i + 2 * AHEAD] & mask, 0)
            soon = slots[wanted[i + AHEAD] & mask]
            if soon > 0:
                fetch(keys, soon - 1, 0)
        key = wanted[i] if wanted[i] != np.uint64(0) else np.uint64(1)
        out[i] = slots[slot_of(slots, keys, key)] - 1
        missing += out[i] < 0
    return missing


@bare
def insert(first, end, slots, keys):  # type: ignore[no-untyped-def]
    """Enter the rows [first, end) that have a key; returns how many."""
    n = 0
    for row in range(first, end):
        if keys[row] != np.uint64(0):
            slot = slot_of(slots, keys, keys[row])
            n += slots[slot] == 0
            slots[slot] = row + 1
    return n


@kernel
def insert_newest(end, slots, keys, before):  # type: ignore[no-untyped-def]
    """Enter of the rows that have the same key the one that none of them has `before` itself; returns how many."""
    old, n = np.zeros(end, np.uint8), 0
    for row in range(end):
        if keys[row] != np.uint64(0) and before[row] >= 0:
            old[before[row]] = 1
    for row in range(end):
        if keys[row] != np.uint64(0) and old[row] == 0:
            slots[slot_of(slots, keys, keys[row])] = row + 1
            n += 1
    return n


class Index:
    """Rows by key. `count` int64 (1,): keys that are known; kernels that enter some keep it."""

    def __init__(self) -> None:
        self.slots: NDArray[np.int32] = np.zeros(1 << 10, np.int32)
        self.count = np.zeros(1, np.int64)

    def find(self, wanted: NDArray[np.uint64], keys: NDArray[np.uint64]) -> NDArray[np.int32]:
        """Row of each key, shape (n,); MISSING where unknown."""
        out = np.empty(wanted.size, np.int32)
        find(wanted, self.slots, keys, out)
        return out

    def one(self, key: int, keys: NDArray[np.uint64]) -> int:
        """Row of a key, or MISSING."""
        return int(self.find(np.array([key], np.uint64), keys)[0])

    def enter(self, row: int, keys: NDArray[np.uint64]) -> None:
        """Make a row known by its key."""
        self.reserve(1, keys)
        self.count[0] += insert(row, row + 1, self.slots, keys)

    def enter_all(self, rows: NDArray[np.int32], keys: NDArray[np.uint64]) -> None:
        """Make rows known by their keys, each another one; room was reserved."""
        enter(rows, self.slots, keys)
        self.count[0] += rows.size

    def reserve(self, more: int, keys: NDArray[np.uint64]) -> None:
        """Have room for some more keys."""
        if 3 * (int(self.count[0]) + more) > 2 * self.slots.size:
            rows = self.slots[self.slots != 0] - 1
            self.slots = np.zeros(capacity(int(self.count[0]) + more), np.int32)
            enter(rows, self.slots, keys)

    def build(self, end: int, keys: NDArray[np.uint64], before: NDArray[np.int32] | None = None) -> None:
        """Know the rows below `end`; those of one key are known by the newest, which the others lie `before`."""
        self.slots = np.zeros(capacity(end), np.int32)
        if before is None:
            self.count[0] = insert(0, end, self.slots, keys)
        else:
            self.count[0] = insert_newest(end, self.slots, keys, before)


@bare
def enter(rows, slots, keys):  # type: ignore[no-untyped-def]
    """Enter rows of which none is known."""
    for row in rows:
        slots[slot_of(slots, keys, keys[row])] = row + 1


def capacity(size: int) -> int:
    """Slots for so many keys."""
    return max(1 << 10, 1 << int(1.5 * size).bit_length())
