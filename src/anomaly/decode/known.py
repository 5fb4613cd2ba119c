"""The series that a scanner may take: those whose bytes a complete decoder has read once.

A scanner hashes a series' labels as they stand and does not look whether they are labels at all. So the first message with
a hash goes to the complete decoder; what that made of it, a row of the catalog or none for want of place, is kept here.
"""

import numpy as np
from numpy.typing import NDArray

from anomaly.decode.catalog import Catalog
from anomaly.decode.table import MISSING, Table

OVERFLOW = -2  # the row of a series past the catalog's limit: known, and not wanted


class Known:
    """Rows by wire key, for one catalog at a time."""

    def __init__(self) -> None:
        self._catalog: Catalog | None = None
        self._table = Table()
        self._kinds: NDArray[np.uint8] = np.zeros(1 << 10, np.uint8)  # by row, of the rows learned

    def find(self, keys: NDArray[np.uint64], catalog: Catalog) -> NDArray[np.int32]:
        """The catalog's row of each key, or OVERFLOW; MISSING where the complete decoder has not been asked."""
        if catalog is not self._catalog or self._table.size > 4 * catalog.limit:
            self._catalog, self._table = catalog, Table()  # another one's rows, or far more keys than series
        return self._table.find(keys)

    def noted(self, row: int, catalog: Catalog) -> int:
        """A row that the catalog gave, or OVERFLOW if it gave none."""
        if row == MISSING:
            return OVERFLOW
        if row >= self._kinds.size:
            self._kinds = np.concatenate([self._kinds, np.zeros(catalog.hash.size, np.uint8)])
        self._kinds[row] = catalog.series[row].kind
        return row

    def learn(self, key: np.uint64, row: int) -> None:
        """What the complete decoder made of a key: a noted row."""
        self._table.insert(np.array([key], np.uint64), np.array([row], np.int32))

    def kinds(self, rows: NDArray[np.int32]) -> NDArray[np.uint8]:
        """The kind of each row."""
        return self._kinds[rows]
