"""A table: rows of plain arrays that grow together, with ranges of pools, and marks of what a checkpoint has to write.

What of them is written when, says `state`. A row that is read back may have been written in the layout of another version:
its fields are found by their names; what only we know is zero, what only they knew is left out.

Where in a pool a row's values lie is no state: a restored pool lays them out anew, and the digest does not see it.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from anomaly.pool import Pool, chosen, collect, collected, grown, scatter

Rows = NDArray[np.uint32]
Layout = Mapping[str, Any]  # of a table: what its bytes mean, for the version that reads them; plain JSON

USED, FREE = 0, 1  # of a table's `count`
LAYOUT = {"at", "slot", "spare"}  # fields that say where something lies, or nothing; so does <pool>_at


class Part(NamedTuple):
    """Rows of one table, one after the other in `data`."""

    table: str
    rows: Rows
    data: bytes | memoryview


class Table:
    """A thing of which a partition has many: columns, which are arrays of a row each, that grow together.

    touched uint8 (rows,)    1: changed since the last checkpoint; whoever changes a row sets it, kernels too
    written uint32 (rows,)   the generation that last wrote the row
    count int64 (2,)         USED: rows that were ever in use; FREE: the newest row to be used again, -1 none
    A kernel is handed `table["name"]` anew at each call, because growing makes new arrays. Free rows are zero, but for the
    field `chain` (column, field), int32, which leads to the next free one.
    """

    def __init__(
        self,
        name: str,
        columns: Mapping[str, tuple[DTypeLike, int]],
        pools: Iterable[Pool] = (),
        chain: tuple[str, str] | None = None,
    ) -> None:
        """`columns`: name -> (dtype, width); width 0 is one value a row, else an array of so many."""
        self.name, self.pools, self.cursor = name, tuple(pools), 0
        self.count = np.array([0, -1], np.int64)
        self._own = {c: np.zeros((0, width) if width else 0, dtype) for c, (dtype, width) in columns.items()}
        self._chain = chain
        self.touched: NDArray[np.uint8] = np.zeros(0, np.uint8)
        self.written: Rows = np.zeros(0, np.uint32)

    def __getitem__(self, column: str) -> NDArray[Any]:
        return self.columns()[column]

    def columns(self) -> dict[str, NDArray[Any]]:
        """All columns by name."""
        return self._own

    @property
    def used(self) -> int:
        """Rows that were ever in use."""
        return int(self.count[USED])

    @property
    def chain(self) -> NDArray[np.int32]:
        """Where each free row names the next."""
        column, field = self._chain or ("", "")
        found: NDArray[np.int32] = self[column][field]
        return found

    def new(self) -> int:
        """A row, all zero and touched: the one set free last, or one more."""
        row = int(self.count[FREE])
        if row < 0:
            row = self.used
            self.count[USED] += 1
            self.reserve(self.used)
        else:
            self.count[FREE], self.chain[row] = self.chain[row], 0
        self.touched[row] = 1
        return row

    def release(self, rows: NDArray[np.int32]) -> None:
        """Set rows free; they are used again in this order."""
        if not rows.size:
            return
        for column in self.columns().values():
            column[rows] = np.zeros((), column.dtype)
        self.chain[rows], self.touched[rows] = np.append(rows[1:], self.count[FREE]), 1
        self.count[FREE] = rows[0]

    def reserve(self, rows: int) -> None:
        """Make room for at least `rows` rows; new ones are zero."""
        if rows > min(self.touched.size, self.written.size):  # who owns the columns of a table may grow them first
            for name, column in self._own.items():
                self._own[name] = grown(column, rows)
            self.touched, self.written = grown(self.touched, rows), grown(self.written, rows)

    def place(self, pool: Pool, n: int) -> int:
        """The first of `n` more places of a pool; where half of it was left behind, it is laid out anew before it grows."""
        if int(pool.count[0]) + n > len(pool.array) and 2 * self._live(pool) < int(pool.count[0]):
            self._lay_out(pool)
        at = int(pool.count[0])
        pool.count[0] += n
        pool.reserve(at + n)
        return at

    def layout(self) -> Layout:
        """Columns and pools, as plain JSON."""
        columns = {
            c: {"dtype": _plain(a.dtype), "width": a.shape[1] if a.ndim > 1 else 0} for c, a in self.columns().items()
        }
        return {"columns": columns, "pools": {p.name: [p.column, _plain(p.array.dtype)] for p in self.pools}}

    def row_bytes(self) -> float:
        """Bytes that a checkpoint writes for a row, on average."""
        fixed = sum(column[:1].nbytes if len(column) else 0 for column in self.columns().values())
        return fixed + sum(int(p.count[0]) * p.array.itemsize for p in self.pools) / max(self.used, 1)

    def due(self) -> int:
        """How many rows were touched."""
        return int(np.count_nonzero(self.touched[: self.used]))

    def turn(self, share: float) -> None:
        """Touch the rows whose turn it is: a share of all, from the cursor on."""
        self.reserve(self.used)
        step = min(int(np.ceil(share * self.used)), self.used)
        self.touched[(self.cursor + np.arange(step)) % max(self.used, 1)] = 1
        self.cursor = (self.cursor + step) % max(self.used, 1)

    def gather(self, generation: int) -> Part:
        """All touched rows, copied, in rising order."""
        self.reserve(self.used)
        return self._copied(generation, np.flatnonzero(self.touched[: self.used]))

    def slices(self, generation: int, size: int) -> Iterator[Part]:
        """The rows that are touched by now, about `size` bytes at a time; what changes meanwhile is touched again."""
        self.reserve(self.used)
        at, most = np.flatnonzero(self.touched[: self.used]), max(int(size / max(self.row_bytes(), 1.0)), 1)
        for begin in range(0, at.size, most):
            yield self._copied(generation, at[begin : begin + most])

    def _copied(self, generation: int, at: NDArray[np.intp]) -> Part:
        rows, ranges = at.astype(np.uint32), [self._range(pool, at) for pool in self.pools]
        sizes = [at.size * column[:1].nbytes for column in self.columns().values()]
        sizes += [int(r[1].sum()) * pool.array.itemsize for pool, r in zip(self.pools, ranges, strict=True)]
        data, begin = np.empty(sum(sizes), np.uint8), np.cumsum([0, *sizes])
        own = [data[a:b] for a, b in pairwise(begin.tolist())]
        for column, out in zip(self.columns().values(), own, strict=False):
            chosen(column, at, out)
        for pool, places, out in zip(self.pools, ranges, own[len(self.columns()) :], strict=True):
            collect(*places, pool.array.view(np.uint8), out, pool.array.itemsize)
        self.touched[at], self.written[at] = 0, generation
        return Part(self.name, rows, data.data)

    def put(self, generation: int, part: Part, layout: Layout) -> None:
        """Rows as `gather` gave them, perhaps in the layout of another version: fields are found by their names."""
        rows, at = part.rows, 0
        self.reserve(int(rows.max(initial=0)) + 1)
        held = [self._range(pool, rows) for pool in self.pools]
        theirs = {}
        for name, kind in layout["columns"].items():
            dtype, shape = _dtype(kind["dtype"]), (rows.size, kind["width"]) if kind["width"] else (rows.size,)
            size = dtype.itemsize * int(np.prod(shape))
            theirs[name] = np.frombuffer(part.data[at : at + size], dtype).reshape(shape)
            at += size
        for name, column in self.columns().items():
            if name in theirs:
                column[rows] = _adopted(theirs[name], column)
        for pool, before in zip(self.pools, held, strict=True):
            kind = _dtype(layout["pools"][pool.name][1])
            length = self._range(pool, rows)[1]
            size = kind.itemsize * int(length.sum())
            values = _adopted(np.frombuffer(part.data[at : at + size], kind), pool.array)
            self._fill(pool, rows, before, length, values)
            at += size
        self.touched[rows], self.written[rows] = 0, generation

    def low(self, generation: int) -> int:
        """The oldest generation that is the last one of some row; `generation` for an empty table."""
        return int(self.written[: self.used].min(initial=generation))

    def rest(self) -> list[int]:
        """What `settle` needs: rows in use, the first free one, the cursor."""
        return [*self.count.tolist(), self.cursor]

    def settle(self, rest: list[int]) -> None:
        """Take over what `rest` gave."""
        self.count[USED], self.count[FREE], self.cursor = rest
        self.reserve(self.used)
        for pool in self.pools:
            self._lay_out(pool)

    def digest(self, sum_: int = 0, rows: NDArray[np.integer[Any]] | None = None) -> int:
        """CRC-32 of these rows, or of all that were ever in use; marks and places in pools left out."""
        at = np.arange(self.used) if rows is None else rows
        for name, column in sorted(self.columns().items()):
            fields = column.dtype.names or ()
            values = [column[f] for f in fields if f not in LAYOUT and not f.endswith("_at")] if fields else [column]
            for each in values:
                sum_ = zlib.crc32(np.ascontiguousarray(each[at]).view(np.uint8).data, sum_ ^ zlib.crc32(name.encode()))
        for pool in self.pools:
            sum_ = zlib.crc32(collected(pool.array, *self._range(pool, at.astype(np.uint32))).view(np.uint8).data, sum_)
        return sum_

    def _range(self, pool: Pool, rows: NDArray[np.integer[Any]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        owner = self[pool.column]
        return owner[f"{pool.name}_at"][rows].astype(np.int64), owner[f"{pool.name}_len"][rows].astype(np.int64)

    def _live(self, pool: Pool) -> int:
        return int(self[pool.column][f"{pool.name}_len"][: self.used].sum(dtype=np.int64))

    def _fill(
        self,
        pool: Pool,
        rows: Rows,
        before: tuple[NDArray[np.int64], NDArray[np.int64]],
        length: NDArray[np.int64],
        values: NDArray[Any],
    ) -> None:
        """Give rows their values: at the place that they had if that has the right size, else at a new one."""
        moved = np.where(before[1] == length, 0, length)
        at = np.where(before[1] == length, before[0], int(pool.count[0]) + np.cumsum(moved) - moved)
        pool.count[0] += int(moved.sum())
        pool.reserve(int(pool.count[0]))
        self[pool.column][f"{pool.name}_at"][rows] = at
        scatter(at, length, values.view(np.uint8), pool.array.view(np.uint8), pool.array.itemsize)

    def _lay_out(self, pool: Pool) -> None:
        """Lay a pool out anew, in the order of rows, without what was left behind."""
        begin, length = self._range(pool, np.arange(self.used, dtype=np.uint32))
        values = collected(pool.array, begin, length)
        pool.array, pool.count[0] = values, len(values)
        self[pool.column][f"{pool.name}_at"][: self.used] = np.cumsum(length) - length


class Borrowed(Table):
    """A table whose columns, and perhaps marks, another object holds and grows, as the models do."""

    def __init__(
        self,
        name: str,
        columns: Callable[[], dict[str, NDArray[Any]]],
        grow: Callable[[int], None],
        marks: Callable[[], NDArray[np.uint8]] | None = None,
    ) -> None:
        self._columns_of, self._grow, self._marks = columns, grow, marks
        super().__init__(name, {})

    def columns(self) -> dict[str, NDArray[Any]]:
        """All columns by name."""
        return self._columns_of()

    @property
    def touched(self) -> NDArray[np.uint8]:
        """1: changed since the last checkpoint."""
        return self._marks() if self._marks else self._touched

    @touched.setter
    def touched(self, marks: NDArray[np.uint8]) -> None:
        self._touched = marks

    def reserve(self, rows: int) -> None:
        """Make room for at least `rows` rows."""
        self._grow(rows)
        if rows > self.written.size:
            self.written, self._touched = grown(self.written, rows), grown(self._touched, rows)


def _plain(dtype: np.dtype[Any]) -> Any:
    """A dtype as JSON: its code, or names, formats (code, shape), offsets and size of a structured one."""
    if dtype.fields is None:
        return dtype.str
    fields = [(name, *dtype.fields[name][:2]) for name in dtype.names or ()]
    return {
        "names": [name for name, _, _ in fields],
        "formats": [[kind.base.str, list(kind.shape)] for _, kind, _ in fields],
        "offsets": [at for _, _, at in fields],
        "itemsize": dtype.itemsize,
    }


def _dtype(plain: Any) -> np.dtype[Any]:
    """What `_plain` wrote."""
    if isinstance(plain, str):
        return np.dtype(plain)
    kinds = [np.dtype((code, tuple(shape))) for code, shape in plain["formats"]]
    whole = {"names": plain["names"], "formats": kinds, "offsets": plain["offsets"], "itemsize": plain["itemsize"]}
    found: np.dtype[Any] = np.dtype(whole)  # type: ignore[call-overload]
    return found


def _adopted(theirs: NDArray[Any], ours: NDArray[Any]) -> NDArray[Any]:
    """Their rows as ours: of structured ones the fields that both know, the others zero."""
    if theirs.dtype == ours.dtype and theirs.shape[1:] == ours.shape[1:]:
        return theirs
    rows = np.zeros((len(theirs), *ours.shape[1:]), ours.dtype)
    if ours.dtype.names is None:
        rows[:] = theirs
    else:
        for name in set(ours.dtype.names) & set(theirs.dtype.names or ()):
            rows[name] = theirs[name]
    return rows
