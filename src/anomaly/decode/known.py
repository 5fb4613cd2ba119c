"""The series that a scanner met, by wire key: their rows in the catalog, and what is remembered beside them.

A scanner hashes a series' labels as they stand and does not look whether they are labels at all. So the first message with
a key is read by a complete decoder, which describes the series to the catalog or refuses it; from then on the key is a
look-up. A key past the catalog's limit is remembered here, or each block would describe it again.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from anomaly.decode.catalog import Catalog, Description
from anomaly.decode.identity import fingerprint
from anomaly.decode.index import MISSING
from anomaly.decode.records import BadRecord

OVERFLOW = -2  # the row of a series past the catalog's limit: known, and not wanted


class Known:
    """Rows by wire key, for one catalog at a time. `name` keeps the keys of encodings apart."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._seeds: dict[int, np.uint64] = {}
        self._catalog: Catalog | None = None
        self._past: set[int] = set()
        self._epoch = 0

    def seed(self, catalog: Catalog) -> np.uint64:
        """The seed of this encoding's keys."""
        given = catalog.identity.seed
        if given not in self._seeds:
            self._seeds[given] = np.uint64(fingerprint(given, "wire", self.name))
        return self._seeds[given]

    def rows(self, keys: NDArray[np.uint64], catalog: Catalog, describe: Callable[[int], Description]) -> NDArray[np.int32]:
        """Row of each key, or OVERFLOW; MISSING where `describe(i)`, the complete decoder, raised BadRecord."""
        self._use(catalog)
        asked: list[int] = []

        def ask(i: int) -> Description | None:
            if int(keys[i]) in self._past:
                return None
            try:
                described = describe(i)
            except BadRecord:
                return None
            asked.append(i)
            return described

        rows = catalog.rows(keys, ask)
        self._past.update(int(keys[i]) for i in asked if rows[i] == MISSING)
        if self._past and (lost := np.flatnonzero(rows == MISSING)).size:
            rows[lost] = [OVERFLOW if key in self._past else MISSING for key in keys[lost].tolist()]
        return rows

    def _use(self, catalog: Catalog) -> None:
        """Forget the keys past the limit of another catalog, or if there is room again, or if they are far too many."""
        if (catalog, catalog.epoch) != (self._catalog, self._epoch):
            self._catalog, self._epoch, self._past = catalog, catalog.epoch, set()
        if len(self._past) > 4 * catalog.limit:
            self._past = set()
