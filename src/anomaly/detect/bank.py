"""The bank: the default model's state of every series of a partition, a row per series, in three arrays.

state float32 (rows, WIDTH), anchor float64 (rows,), last int64 (rows,) milliseconds: 496 bytes a series; the layout of a
row is in `layout`. NaN: not known yet.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anomaly.compiled import kernel
from anomaly.detect.adaptive import KNOWN, judge_point
from anomaly.detect.layout import LEARNED, WIDTH, N, blank, borrow

Floats = NDArray[np.float64]


class Judged(NamedTuple):
    """What the model said of n points, in arrival order, shape (n,) each.

    score    -log10 of the tail probability; NaN not known yet, 0 perfectly normal
    low, high  the band expected before the point was learned, in the value's unit; NaN while not known
    learned  seconds that the row had learned by then
    """

    score: Floats
    low: Floats
    high: Floats
    learned: Floats


@kernel
def judge(row, time, value, season, held, teach, state, anchor, last, score, low, high, learned):  # type: ignore[no-untyped-def]
    """Judge n points in arrival order into the last four columns, learning each at once if `teach`."""
    for i in range(row.size):
        score[i], low[i], high[i], learned[i] = judge_point(
            state, anchor, last, row[i], time[i], value[i], season[i] != 0, held[i] != 0, teach
        )


@kernel
def blank_rows(state, first):  # type: ignore[no-untyped-def]
    """Make all rows from `first` on know nothing."""
    for row in range(first, state.shape[0]):
        blank(state[row])


class Bank:
    """Judges points by row. Rows are the caller's; `ensure` makes them exist."""

    def __init__(self) -> None:
        self.state: NDArray[np.float32] = np.empty((0, WIDTH), np.float32)
        self.anchor: Floats = np.empty(0, np.float64)
        self.last: NDArray[np.int64] = np.empty(0, np.int64)

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return int(self.last.size)

    def ensure(self, rows: int) -> None:
        """Make at least `rows` rows exist; new ones know nothing."""
        have = self.rows
        if rows <= have:
            return
        size = max(rows, have + have // 2, 64)
        self.state = np.concatenate([self.state, np.empty((size - have, WIDTH), np.float32)])
        self.anchor = np.concatenate([self.anchor, np.zeros(size - have)])
        self.last = np.concatenate([self.last, np.zeros(size - have, np.int64)])
        blank_rows(self.state, have)

    def prime(self, row: int, donor: int) -> None:
        """Start a row from what the donor knows of shape, spread and tails; its level is its own first value."""
        self.state[row] = self.state[donor]
        self.anchor[row], self.last[row] = self.anchor[donor], self.last[donor]
        borrow(self.state[row])

    def clear(self, row: int) -> None:
        """Make a row know nothing."""
        blank(self.state[row])
        self.anchor[row] = self.last[row] = 0

    def judge(self, row: ArrayLike, time: ArrayLike, value: ArrayLike, season: ArrayLike, held: ArrayLike) -> Judged:
        """Score each point, then learn it; a point not newer than its row's last is scored and teaches nothing.

        `held` marks points of rows with an open episode: they are learned with a small weight.
        """
        return self._run(row, time, value, season, held, True)

    def score(self, row: ArrayLike, time: ArrayLike, value: ArrayLike, season: ArrayLike) -> Judged:
        """Score each point as it would be scored now; changes nothing."""
        return self._run(row, time, value, season, np.zeros(np.size(row), np.uint8), False)

    def _run(
        self, row: ArrayLike, time: ArrayLike, value: ArrayLike, season: ArrayLike, held: ArrayLike, teach: bool
    ) -> Judged:
        rows = np.asarray(row, np.int32)
        out = Judged(*(np.empty(rows.size) for _ in range(4)))
        times, values = np.asarray(time, np.int64), np.asarray(value, np.float64)
        flags = np.asarray(season, np.uint8), np.asarray(held, np.uint8)
        judge(rows, times, values, *flags, teach, self.state, self.anchor, self.last, *out)
        return out

    def warm(self, rows: ArrayLike) -> NDArray[np.bool_]:
        """Which of the rows know enough by themselves to say something, and have done so for a minute."""
        s = self.state[np.asarray(rows, np.int64)]
        return np.asarray((s[:, N] >= KNOWN) & (s[:, LEARNED] >= 60.0))

    def take(self, rows: ArrayLike) -> bytes:
        """State of some rows, to be put back by `put`."""
        at = np.asarray(rows, np.int64)
        return self.state[at].tobytes() + self.anchor[at].tobytes() + self.last[at].tobytes()

    def put(self, rows: ArrayLike, data: bytes) -> None:
        """Put back what `take` gave, into as many rows."""
        at = np.asarray(rows, np.int64)
        self.ensure(int(at.max(initial=-1)) + 1)
        wide = at.size * WIDTH * 4
        self.state[at] = np.frombuffer(data, np.float32, at.size * WIDTH).reshape(-1, WIDTH)
        self.anchor[at] = np.frombuffer(data, np.float64, at.size, wide)
        self.last[at] = np.frombuffer(data, np.int64, at.size, wide + at.size * 8)

    def to_bytes(self) -> bytes:
        """State of all rows."""
        return self.take(np.arange(self.rows))

    @classmethod
    def from_bytes(cls, data: bytes) -> "Bank":
        """The bank that `to_bytes` described, to the bit."""
        bank = cls()
        rows = len(data) // (WIDTH * 4 + 16)
        bank.put(np.arange(rows), data)
        return bank
