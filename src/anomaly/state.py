"""State as tables of rows, and what of it a checkpoint writes.

A checkpoint has a number, its generation. Of each table it holds the rows touched since the one before and, at a cursor
that goes round, as many others. So it costs twice what was touched, nothing while nothing happens, and never a full copy;
every row is written again within one round, and what lies before `low`, the oldest generation that still is the last one
of some row, can be thrown away: what is kept is at most about twice the state.
Restored are the generations from `low` on, in order, and then the `rest` of the last one: what is small and written whole.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

Rows = NDArray[np.uint32]
Layout = Mapping[str, Any]  # of a table: what its bytes mean, for the version that reads them; plain JSON


class Part(NamedTuple):
    """Rows of one table, one after the other in `data`."""

    table: str
    rows: Rows
    data: bytes


class Snapshot(NamedTuple):
    """What a checkpoint writes, copied: the state may go on changing. `low`: generations before it are dead."""

    parts: list[Part]
    rest: bytes
    low: int


class Stateful(Protocol):
    """What can be kept from one process to the next: a partition's part of a stage."""

    def layouts(self) -> Mapping[str, Layout]:
        """What the bytes of each table mean."""

    def gather(self, generation: int) -> Snapshot:
        """What changed since the last call, and a rolling share of the rest. Called between two blocks."""

    def put(self, generation: int, parts: Iterable[Part], layouts: Mapping[str, Layout]) -> None:
        """Rows that a generation wrote, by the layouts of its writer; called on a fresh state, in order of generations."""

    def settle(self, rest: bytes) -> None:
        """After the last `put`: the rest, and whatever follows from the rows."""


class Pool:
    """Values of which each row of a table owns a range, such as the buckets of a histogram: one array that grows.

    The owner's column `column` has integer fields `<name>_at` and `<name>_len`.
    """

    def __init__(self, name: str, column: str, dtype: DTypeLike) -> None:
        self.name, self.column = name, column
        self.array: NDArray[Any] = np.zeros(0, dtype)
        self.used = 0

    def new(self, n: int) -> int:
        """The first of `n` new places."""
        at, self.used = self.used, self.used + n
        self.reserve(self.used)
        return at

    def reserve(self, size: int) -> None:
        """Make at least `size` places exist; new ones are zero."""
        if size > len(self.array):
            self.array = _grown(self.array, size)


class Table:
    """A thing of which a partition has many: columns, which are arrays of a row each, that grow together.

    touched uint8 (rows,)    1: changed since the last checkpoint; whoever changes a row sets it, kernels too
    written uint32 (rows,)   the generation that last wrote the row
    A kernel is handed `table["name"]` anew at each call, because growing makes new arrays.
    """

    def __init__(self, name: str, columns: Mapping[str, tuple[DTypeLike, int]], pools: Iterable[Pool] = ()) -> None:
        """`columns`: name -> (dtype, width); width 0 is one value a row, else an array of so many."""
        self.name, self.pools, self.used, self.cursor = name, tuple(pools), 0, 0
        self._columns = {c: np.zeros((0, width) if width else 0, dtype) for c, (dtype, width) in columns.items()}
        self.touched: NDArray[np.uint8] = np.zeros(0, np.uint8)
        self.written: Rows = np.zeros(0, np.uint32)

    def __getitem__(self, column: str) -> NDArray[Any]:
        return self._columns[column]

    def new(self, n: int = 1) -> int:
        """The first of `n` new rows, all zero and touched."""
        at, self.used = self.used, self.used + n
        self.reserve(self.used)
        self.touched[at : self.used] = 1
        return at

    def reserve(self, rows: int) -> None:
        """Make room for at least `rows` rows; new ones are zero."""
        if rows > self.touched.size:
            for name, column in self._columns.items():
                self._columns[name] = _grown(column, rows)
            self.touched, self.written = _grown(self.touched, rows), _grown(self.written, rows)

    def layout(self) -> Layout:
        """Columns and pools, as plain JSON."""
        columns = {c: {"dtype": _plain(a.dtype), "width": a.shape[1] if a.ndim > 1 else 0} for c, a in self._columns.items()}
        return {"columns": columns, "pools": {p.name: [p.column, p.array.dtype.str] for p in self.pools}}

    def gather(self, generation: int) -> Part:
        """The touched rows and a rolling share of the others, copied."""
        rows = self._due()
        data = [column[rows].tobytes() for column in self._columns.values()]
        for pool in self.pools:
            data.append(pool.array[_ranges(*self._range(pool, rows))].tobytes())
        self.touched[rows], self.written[rows] = 0, generation
        return Part(self.name, rows, b"".join(data))

    def put(self, generation: int, part: Part, layout: Layout) -> None:
        """Rows as `gather` gave them, perhaps in the layout of another version: fields are found by their names."""
        rows, at = part.rows, 0
        self.reserve(int(rows.max(initial=-1)) + 1)
        theirs = {}
        for name, kind in layout["columns"].items():
            dtype, shape = np.dtype(kind["dtype"]), (rows.size, kind["width"]) if kind["width"] else (rows.size,)
            size = dtype.itemsize * int(np.prod(shape))
            theirs[name] = np.frombuffer(part.data[at : at + size], dtype).reshape(shape)
            at += size
        for name, column in self._columns.items():
            if name in theirs:
                column[rows] = _adopted(theirs[name], column)
        for pool in self.pools:
            begin, length = self._range(pool, rows)
            pool.reserve(int((begin + length).max(initial=0)))
            kind = np.dtype(layout["pools"].get(pool.name, ["", pool.array.dtype.str])[1])
            size = kind.itemsize * int(length.sum())
            pool.array[_ranges(begin, length)] = np.frombuffer(part.data[at : at + size], kind)
            at += size
        self.touched[rows], self.written[rows] = 0, generation

    def low(self, generation: int) -> int:
        """The oldest generation that is the last one of some row; `generation` for an empty table."""
        return int(self.written[: self.used].min(initial=generation))

    def rest(self) -> list[int]:
        """What `settle` needs: rows in use, the cursor, places in use of each pool."""
        return [self.used, self.cursor, *(pool.used for pool in self.pools)]

    def settle(self, rest: list[int]) -> None:
        """Take over what `rest` gave."""
        self.used, self.cursor, *used = rest
        self.reserve(self.used)
        for pool, n in zip(self.pools, used, strict=True):
            pool.used = n
            pool.reserve(n)

    def _due(self) -> Rows:
        """Touched rows, and as many others from the cursor on, in rising order."""
        due = np.flatnonzero(self.touched[: self.used])
        share = min(due.size, self.used)
        rolling = (self.cursor + np.arange(share)) % max(self.used, 1)
        self.cursor = (self.cursor + share) % max(self.used, 1)
        return np.union1d(due, rolling).astype(np.uint32)

    def _range(self, pool: Pool, rows: Rows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        owner = self._columns[pool.column][rows]
        return owner[f"{pool.name}_at"].astype(np.int64), owner[f"{pool.name}_len"].astype(np.int64)


def gather(tables: Iterable[Table], generation: int) -> tuple[list[Part], int]:
    """Parts of all tables, and the oldest generation that is still needed."""
    held = list(tables)
    parts = [table.gather(generation) for table in held]
    return parts, min((table.low(generation) for table in held), default=generation)


def _ranges(begin: NDArray[np.int64], length: NDArray[np.int64]) -> NDArray[np.int64]:
    """The places of all ranges, one after the other."""
    before = np.cumsum(length) - length
    places: NDArray[np.int64] = np.arange(int(length.sum())) + np.repeat(begin - before, length)
    return places


def _grown(array: NDArray[Any], size: int) -> NDArray[Any]:
    """The array, longer: by half at least, so that growing costs little altogether; what is new is zero."""
    larger = np.zeros((max(size, len(array) + len(array) // 2, 64), *array.shape[1:]), array.dtype)
    larger[: len(array)] = array
    return larger


def _plain(dtype: np.dtype[Any]) -> Any:
    """A dtype as JSON: its code, or [names, codes, offsets, size] of a structured one."""
    if dtype.names is None:
        return dtype.str
    fields = [dtype.fields[n] for n in dtype.names] if dtype.fields else []
    return {"names": list(dtype.names), "formats": [f[0].str for f in fields], "offsets": [f[1] for f in fields],
            "itemsize": dtype.itemsize}  # fmt: skip


def _adopted(theirs: NDArray[Any], ours: NDArray[Any]) -> NDArray[Any]:
    """Their rows as ours: of structured ones the fields that both know, the others zero."""
    if theirs.dtype == ours.dtype:
        return theirs
    rows = np.zeros((len(theirs), *ours.shape[1:]), ours.dtype)
    if ours.dtype.names is None:
        rows[:] = theirs
    else:
        for name in set(ours.dtype.names) & set(theirs.dtype.names or ()):
            rows[name] = theirs[name]
    return rows
