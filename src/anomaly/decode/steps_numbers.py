"""Numbers for hashes, in the order of their first appearance: what sorting would find out, in linear time.

key uint64 (n,), hashes whose lowest bit says nothing; table int32 (a power of two, at least 2 n), -1: free.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly.compiled import bare, inlined

U8 = NDArray[np.uint64]
I4 = NDArray[np.int32]


@inlined
def _place(table, mask, keys, first, key):  # type: ignore[no-untyped-def]
    """Where the key's number stands in the table, or would."""
    at = (key >> np.uint64(1)) & mask
    while table[at] >= 0 and keys[first[table[at]]] != key:
        at = (at + np.uint64(1)) & mask
    return at


@bare
def number(key, table, of, first):  # type: ignore[no-untyped-def]
    """Gives how many keys there are; writes the number of each, int32 (n,), and where each number came first, int32 (n,)."""
    mask, n = np.uint64(table.size - 1), 0
    for i in range(key.size):
        at = _place(table, mask, key, first, key[i])
        if table[at] < 0:
            table[at] = n
            first[n] = i
            n += 1
        of[i] = table[at]
    return n


@bare
def look_up(key, table, first, wanted, out):  # type: ignore[no-untyped-def]
    """Writes the number of each wanted key, int32, -1: none."""
    mask = np.uint64(table.size - 1)
    for i in range(wanted.size):
        out[i] = table[_place(table, mask, key, first, wanted[i])]


class Numbers(NamedTuple):
    """The number of each key, where each number came first, and how to find one."""

    of: I4
    first: I4
    key: U8
    table: I4

    def find(self, wanted: U8) -> I4:
        """The number of each wanted key, -1: none."""
        out = np.empty(wanted.size, np.int32)
        look_up(self.key, self.table, self.first, np.ascontiguousarray(wanted), out)
        return out


def numbered(key: U8) -> Numbers:
    """Number these keys."""
    key = np.ascontiguousarray(key)
    of, first = np.empty(key.size, np.int32), np.empty(key.size, np.int32)
    table = np.full(1 << (2 * key.size).bit_length(), -1, np.int32)
    n = number(key, table, of, first)
    return Numbers(of, first[:n], key, table)
