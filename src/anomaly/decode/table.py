"""Fingerprint -> row, by open addressing over flat arrays.

keys uint64 (capacity,), 0 is an empty slot (a fingerprint of 0 is stored as 1); rows int32 (capacity,). The capacity is a
power of two and at least twice the number of rows, so that probes stay short: 24 to 48 bytes a row.
Source: D. Knuth, The Art of Computer Programming, volume 3, section 6.4, algorithm L (linear probing).
"""

import numpy as np
from numpy.typing import NDArray

from anomaly.compiled import kernel

MISSING = -1


@kernel
def find(wanted, keys, rows, out):  # type: ignore[no-untyped-def]
    """Row of each fingerprint into `out`, MISSING where it is not in the table; returns how many are missing."""
    mask, missing = np.uint64(keys.size - 1), 0
    for i in range(wanted.size):
        key = wanted[i] if wanted[i] != np.uint64(0) else np.uint64(1)
        slot = key & mask
        while keys[slot] != key and keys[slot] != np.uint64(0):
            slot = (slot + np.uint64(1)) & mask
        out[i] = rows[slot] if keys[slot] == key else MISSING
        missing += keys[slot] != key
    return missing


@kernel
def insert(new, row, keys, rows):  # type: ignore[no-untyped-def]
    """Give each fingerprint its row; one that is there already gets the new one."""
    mask = np.uint64(keys.size - 1)
    for i in range(new.size):
        key = new[i] if new[i] != np.uint64(0) else np.uint64(1)
        slot = key & mask
        while keys[slot] != np.uint64(0) and keys[slot] != key:
            slot = (slot + np.uint64(1)) & mask
        keys[slot], rows[slot] = key, row[i]


class Table:
    """Rows by fingerprint. Grows by doubling; rows are given by the caller."""

    def __init__(self) -> None:
        self.size = 0
        self._keys: NDArray[np.uint64] = np.zeros(1 << 10, np.uint64)
        self._rows: NDArray[np.int32] = np.zeros(1 << 10, np.int32)

    def find(self, fingerprints: NDArray[np.uint64]) -> NDArray[np.int32]:
        """Row of each fingerprint, shape (n,); MISSING where unknown."""
        out = np.empty(fingerprints.size, np.int32)
        find(fingerprints, self._keys, self._rows, out)
        return out

    @property
    def nbytes(self) -> int:
        """What the table holds in memory."""
        return self._keys.nbytes + self._rows.nbytes

    def insert(self, fingerprints: NDArray[np.uint64], rows: NDArray[np.int32]) -> None:
        """Give each fingerprint its row, a new one to those that are in the table already."""
        self.size += fingerprints.size
        if 2 * self.size > self._keys.size:
            self._keep(self._keys != 0, 1 << int(2 * self.size - 1).bit_length())
        insert(fingerprints, rows, self._keys, self._rows)

    def drop(self, gone: NDArray[np.bool_]) -> None:
        """Forget every fingerprint whose row is `gone`, a truth by row; rows past its end stay."""
        beyond = self._rows >= gone.size
        kept = (self._keys != 0) & (beyond | ~gone[np.where(beyond, 0, self._rows)])
        self.size = int(np.count_nonzero(kept))
        self._keep(kept, self._keys.size)

    def _keep(self, kept: NDArray[np.bool_], capacity: int) -> None:
        keys, rows = self._keys[kept], self._rows[kept]
        self._keys, self._rows = np.zeros(capacity, np.uint64), np.zeros(capacity, np.int32)
        insert(keys, rows, self._keys, self._rows)
