"""Every series that decode has met: the key it has on the wire -> its canonical identity.

A wire key is what an encoding can compute without understanding it all: a hash of attribute bytes (scanners) or the
label text (parsers). Several wire keys may lead to one series, as when only an ignored label differs. A key is described,
in Python, once; from then on it is a look-up.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly.decode.identity import Identity, Series
from anomaly.decode.points import Kind
from anomaly.decode.table import MISSING, Table


class Description(NamedTuple):
    """What an encoding knows of a series: attributes of resource, scope and point in one mapping, all values as text."""

    metric: str
    unit: str
    attributes: dict[str, str]
    kind: Kind
    bounds: tuple[float, ...] = ()


class Catalog:
    """Rows of series in order of first sight. `hash` and `group` are columns over rows; row MISSING is past the limit.

    hash uint64 (rows,)   Series.hash
    group uint64 (rows,)  Series.group_hash
    """

    def __init__(self, identity: Identity, limit: int = 1_000_000) -> None:
        self.identity, self.limit = identity, limit
        self.series: list[Series] = []
        self.overflow = 0
        self.hash: NDArray[np.uint64] = np.zeros(1 << 10, np.uint64)
        self.group: NDArray[np.uint64] = np.zeros(1 << 10, np.uint64)
        self._table = Table()  # by wire hash
        self._canonical = Table()  # by Series.hash: the row last described
        self._by_key: dict[Hashable, int] = {}

    def rows(self, wire: NDArray[np.uint64], describe: Callable[[int], Description | None]) -> NDArray[np.int32]:
        """Row of each wire hash, shape (n,); `describe(i)` is asked once for the first point of each unknown one.

        None says that it cannot be described: it is MISSING, does not count as overflow, and is asked for again.
        """
        rows = self._table.find(wire)
        missing = np.flatnonzero(rows == MISSING)
        if missing.size:
            fresh, first = np.unique(wire[missing], return_index=True)
            order = np.argsort(first)
            added = self._added([describe(i) for i in missing[first[order]].tolist()])
            known = added != MISSING
            self._table.insert(fresh[order][known], added[known])
            rows[missing] = self._table.find(wire[missing])
        return rows

    def row(self, key: Hashable, describe: Callable[[], Description]) -> int:
        """Row of a wire key; `describe` is called once, at its first sight."""
        row = self._by_key.get(key)
        if row is None:
            row = int(self._added([describe()])[0])
            if row != MISSING:
                self._by_key[key] = row
        return row

    def rows_of(self, canonical: NDArray[np.uint64]) -> NDArray[np.int32]:
        """Row of each `Series.hash`, shape (n,): the row last described where several wire keys lead to one series."""
        return self._canonical.find(canonical)

    def _added(self, described: Sequence[Description | None]) -> NDArray[np.int32]:
        """New rows for what was described, MISSING for what was not and past the limit."""
        before = len(self.series)
        rows = np.array([self._add(each) for each in described], np.int32)
        self._name(before)
        return rows

    def _add(self, described: Description | None) -> int:
        if described is None:
            return MISSING
        if len(self.series) >= self.limit:
            self.overflow += 1
            return MISSING
        self.series.append(self.identity.series(*described))
        return len(self.series) - 1

    def _name(self, first: int) -> None:
        """Make the rows from `first` on known by their canonical hashes, in order.

        A histogram's stale marker comes without bounds; the series keeps those that it was described with.
        """
        new, rows = self.series[first:], np.arange(first, len(self.series), dtype=np.int32)
        if len(self.series) > self.hash.size:
            size = 2 * len(self.series)
            self.hash, self.group = np.resize(self.hash, size), np.resize(self.group, size)
        self.hash[rows], self.group[rows] = [s.hash for s in new], [s.group_hash for s in new]
        bounded = np.array([bool(s.bounds) for s in new], np.bool_)
        self._canonical.insert(self.hash[rows[bounded]], rows[bounded])
        plain = rows[~bounded]
        known = self.rows_of(self.hash[plain]).tolist()
        kept = np.array([row == MISSING or not self.series[row].bounds for row in known], np.bool_)
        self._canonical.insert(self.hash[plain[kept]], plain[kept])
