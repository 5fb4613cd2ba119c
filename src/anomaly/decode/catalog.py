"""Every series that decode has met: the key it has on the wire -> a row that says who it is.

A wire key is what an encoding can compute without understanding it all: a hash of attribute bytes (scanners) or of the
label text (parsers). Several wire keys may lead to one series, as when only an ignored label differs; each has a row of its
own. A key is described, in Python, once; from then on it is a look-up. A series is a row of ROW and its text in one pool,
no object. The catalog is a memory of decode's and no state: a row that is given to another series is described again when
the first comes back. It is a `Table` all the same: where decode and detect are one stage it goes along with the state, so
that a worker that starts again need not describe a million series first.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from anomaly.decode.block import Announced
from anomaly.decode.catalog_rows import FREE, ROW, find, name, named
from anomaly.decode.giants import Giants
from anomaly.decode.identity import Identity, Series, unpack
from anomaly.decode.index import MISSING, Index, capacity
from anomaly.decode.points import Kind
from anomaly.decode.texts import Texts
from anomaly.table import USED, Table

# Silent for so long, in ms of data time, a series may lose its row: longer than three of the longest usual intervals.
IDLE = 900_000
SHARE = 8  # the part of the rows that is recycled at once: to find the oldest takes a look at all


class Description(NamedTuple):
    """What an encoding knows of a series: attributes of resource, scope and point in one mapping, all values as text."""

    metric: str
    unit: str
    attributes: dict[str, str]
    kind: Kind
    bounds: tuple[float, ...] = ()


class Catalog:
    """Rows of series in order of first sight; row MISSING is past the limit, or could not be described.

    `partitions` of anomaly.points; with `keeps` false a text is given once, to who announces it, and not kept.
    `epoch` grows when rows get free: a row whose `since` is larger than the epoch one knows is not what it was.
    """

    LOOK_EVERY = IDLE // 15  # ms of data time between looks for what is idle

    def __init__(self, identity: Identity, limit: int = 1_000_000, partitions: int = 1, keeps: bool = True) -> None:
        self.identity, self.limit, self.partitions, self.keeps = identity, limit, partitions, keeps
        self.overflow = self.epoch = 0
        self.giants = Giants()
        self.clear()

    def clear(self) -> None:
        """Know nothing; for one that nobody was asked about yet."""
        self.table = Table("catalog", {"row": (ROW, 0)})
        self.table.reserve(64)
        self.slots: NDArray[np.int32] = np.full(1 << 10, MISSING, np.int32)
        self._wire = Index()
        self._free: NDArray[np.int32] = np.zeros(0, np.int32)
        self._texts, self._fresh = Texts(), dict[int, bytes]()
        self._tried = 0

    @property
    def key(self) -> str:
        """Under another one the same bytes on the wire may be another series."""
        return self.identity.key

    @property
    def columns(self) -> NDArray[Any]:
        """The rows, as ROW."""
        return self.table["row"]

    @property
    def used(self) -> int:
        """Rows that were ever in use."""
        return self.table.used

    @property
    def hash(self) -> NDArray[np.uint64]:
        """Series.hash by row."""
        return self.columns["hash"]

    @property
    def group(self) -> NDArray[np.uint64]:
        """Series.group_hash by row."""
        return self.columns["group"]

    @property
    def kind(self) -> NDArray[np.uint8]:
        """Kind by row."""
        return self.columns["kind"]

    @property
    def writer(self) -> NDArray[np.uint16]:
        """Which of several senders, by row."""
        return self.columns["writer"]

    @property
    def series(self) -> "SeriesByRow":
        """The series by row, made when asked for."""
        return SeriesByRow(self)

    @property
    def nbytes(self) -> int:
        """What the catalog holds in memory."""
        return self.columns.nbytes + self.slots.nbytes + self._wire.slots.nbytes + self._texts.nbytes

    @property
    def held(self) -> int:
        """Rows in use."""
        return self.used - self._free.size

    def rows(self, wire: NDArray[np.uint64], describe: Callable[[int], Description | None]) -> NDArray[np.int32]:
        """Row of each wire hash, shape (n,); `describe(i)` is asked once for the first point of each unknown one.

        None says that it cannot be described: it is MISSING, does not count as overflow, and is asked for again.
        """
        rows = self._wire.find(wire, self.columns["wire"])
        missing = np.flatnonzero(rows == MISSING)
        if missing.size:
            fresh, first = np.unique(wire[missing], return_index=True)
            order = np.argsort(first)
            self._add(fresh[order], [describe(i) for i in missing[first[order]].tolist()])
            rows[missing] = self._wire.find(wire[missing], self.columns["wire"])
        return rows

    def row(self, key: bytes, describe: Callable[[], Description]) -> int:
        """Row of a wire key; `describe` is called once, at its first sight."""
        return int(self.rows(self.hashed([key]), lambda _: describe())[0])

    def hashed(self, keys: Sequence[bytes]) -> NDArray[np.uint64]:
        """Wire keys as 64 seeded bits each, for `rows`."""
        seed = self.identity.seed.to_bytes(8, "little")
        digests = b"".join([hashlib.blake2b(key, digest_size=8, key=seed).digest() for key in keys])
        return np.frombuffer(digests, np.uint64)

    def rows_of(self, canonical: NDArray[np.uint64]) -> NDArray[np.int32]:
        """Row of each `Series.hash`, shape (n,): the row last described where several wire keys lead to one series."""
        out = np.empty(canonical.size, np.int32)
        find(canonical, self.slots, self.columns, out)
        return out

    def named(self, rows: NDArray[np.int32]) -> tuple[NDArray[np.uint64], NDArray[np.uint8], NDArray[np.uint16]]:
        """Series.hash, kind and writer of each row, each shape (n,); all zero for MISSING."""
        found = np.empty(rows.size, np.uint64), np.empty(rows.size, np.uint8), np.empty(rows.size, np.uint16)
        named(rows, self.columns, *found)
        return found

    def text(self, row: int) -> bytes:
        """The text of a row; where texts are not kept, only until `announced`."""
        if not self.keeps:
            return self._fresh[row]
        return self._texts.get(int(self.columns["text_at"][row]), int(self.columns["text_len"][row]))

    def announced(self, rows: NDArray[np.int32]) -> Announced:
        """The series in these rows; where texts are not kept, those that were not announced before."""
        if self.keeps:
            at, size = self.columns["text_at"][rows], self.columns["text_len"][rows].astype(np.int64)
            return Announced(self.hash[rows], self._texts.strung(at, size))
        new = [row for row in rows.tolist() if row in self._fresh]
        found = Announced(self.hash[new], [self._fresh[row] for row in new])
        self._fresh.clear()  # of a row that had no point, or is not the one that stands for its series, nobody will ask
        return found

    def given(self, rows: NDArray[np.int32]) -> NDArray[np.int32]:
        """Those of the rows whose texts are not here any more."""
        return rows if not self._fresh else np.array([row for row in rows.tolist() if row not in self._fresh], np.int32)

    def recycle(self, now: int) -> int:
        """Where the limit is reached, free rows of series that were announced longest ago, if idle; returns how many."""
        if self.held < self.limit or now < self._tried + self.LOOK_EVERY:
            return 0
        self._tried = now
        mine = self.columns[: self.used]
        idle = np.flatnonzero((mine["kind"] != FREE) & (mine["until"] < now - IDLE))
        oldest = idle[np.argsort(mine["until"][idle], kind="stable")][: max(self.limit // SHARE, 1)]
        self.forget(oldest.astype(np.int32))
        return int(oldest.size)

    def forget_idle(self, wire: NDArray[np.uint64], now: int) -> NDArray[np.uint64]:
        """Free the rows of those of these keys that are idle; returns the keys that have no row now."""
        rows = self._wire.find(wire, self.columns["wire"])
        idle = (rows != MISSING) & (self.columns["until"][np.maximum(rows, 0)] < now - IDLE)
        self.forget(rows[idle])
        gone: NDArray[np.uint64] = wire[idle | (rows == MISSING)]
        return gone

    def forget(self, rows: NDArray[np.int32]) -> None:
        """Free these rows: their series are strangers from now on."""
        if not rows.size:
            return
        self.epoch += 1
        self.columns[rows] = np.zeros(1, ROW)
        self.columns["kind"][rows], self.columns["since"][rows] = FREE, self.epoch
        self.table.touched[rows] = 1
        for row in rows.tolist() if self._fresh else ():
            self._fresh.pop(row, None)
        self._free = np.concatenate([self._free, rows[::-1]])
        self._compact()
        self._know_again()

    def settle(self) -> None:
        """Know the rows that were put into the table; of those that are free, nobody remembers what they were."""
        mine = self.columns[: self.used]
        mine["since"], mine["until"] = 0, 0
        self._free = np.flatnonzero(mine["kind"] == FREE)[::-1].astype(np.int32)
        self._know_again()

    def _know_again(self) -> None:
        """Know all rows by their keys and their series' hashes: the row announced last stands for its series."""
        self._wire.build(self.used, self.columns["wire"])
        live = np.flatnonzero(self.kind[: self.used] != FREE)
        self.slots = np.full(max(self.slots.size, capacity(self.used)), MISSING, np.int32)
        name(live[np.argsort(self.columns["until"][live], kind="stable")], self.slots, self.columns)

    def _compact(self) -> None:
        """Let go of the texts of rows that are free, once they are half of all."""
        live = np.flatnonzero(self.kind[: self.used] != FREE)
        size = self.columns["text_len"][live].astype(np.int64)
        if 2 * int(size.sum()) < self._texts.nbytes:
            self.columns["text_at"][live] = self._texts.only(self.columns["text_at"][live], size)

    def _add(self, wire: NDArray[np.uint64], described: Sequence[Description | None]) -> None:
        """Rows for what was described, as many as there is room for."""
        good = [i for i, each in enumerate(described) if each is not None]
        taken = good[: max(self.limit - self.held, 0)]
        self.overflow += len(good) - len(taken)
        if taken:
            self._write(self._taken(len(taken)), wire[taken], [described[i] for i in taken])  # type: ignore[misc]

    def _taken(self, n: int) -> NDArray[np.int32]:
        """Row numbers for `n` series: free ones, then new ones."""
        again = self._free[: -n - 1 : -1]
        self._free = self._free[: self._free.size - again.size]
        new = np.arange(self.used, self.used + n - again.size, dtype=np.int32)
        self.table.count[USED] += new.size
        self.table.reserve(self.used)
        return np.concatenate([again, new])

    def _write(self, rows: NDArray[np.int32], wire: NDArray[np.uint64], described: Sequence[Description]) -> None:
        placed = [self.identity.placed(*each) for each in described]
        hashes, groups, texts, writers, places, beats = zip(*placed, strict=True)
        new = np.zeros(rows.size, ROW)
        new["since"], new["wire"] = self.columns["since"][rows], np.maximum(wire, 1)
        new["hash"], new["group"], new["writer"] = hashes, groups, writers
        new["partition"] = np.array(places, np.uint64) % np.uint64(self.partitions)
        if self.partitions > 1:
            new["giant"] = [self.giants.number(beat) for beat in beats]
        new["kind"], new["bounded"] = [d.kind for d in described], [bool(d.bounds) for d in described]
        if self.keeps:
            new["text_at"], new["text_len"] = self._texts.add(texts), [len(t) for t in texts]
        else:
            self._fresh.update(zip(rows.tolist(), texts, strict=True))
        self._wire.reserve(rows.size, self.columns["wire"])
        self.columns[rows], self.table.touched[rows] = new, 1
        self._wire.enter_all(rows, self.columns["wire"])
        if 3 * self.used > 2 * self.slots.size:
            self.slots = np.full(capacity(self.used), MISSING, np.int32)
            rows = np.concatenate([np.setdiff1d(np.flatnonzero(self.kind[: self.used] != FREE), rows), rows])
        name(rows.astype(np.int64), self.slots, self.columns)


class SeriesByRow(Sequence[Series]):
    """The series of a catalog by row."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def __len__(self) -> int:
        return self._catalog.used

    @overload
    def __getitem__(self, row: int) -> Series: ...
    @overload
    def __getitem__(self, row: slice) -> list[Series]: ...
    def __getitem__(self, row: int | slice) -> Series | list[Series]:
        if isinstance(row, slice):
            return [self[r] for r in range(*row.indices(len(self)))]
        if not 0 <= row < len(self):
            raise IndexError(row)
        return unpack(int(self._catalog.hash[row]), self._catalog.text(row))
