"""The bank: the default model's state of every series of a partition, one record per series (`layout.MODEL`, 320 bytes)."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anomaly.compiled import kernel
from anomaly.detect.adaptive import KNOWN, judge_point
from anomaly.detect.layout import MODEL, borrow, lined, longer

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
def judge(row, time, value, season, held, teach, state, score, low, high, learned):  # type: ignore[no-untyped-def]
    """Judge n points in arrival order into the last four columns, learning each at once if `teach`."""
    for i in range(row.size):
        score[i], low[i], high[i], learned[i] = judge_point(
            state, row[i], time[i], value[i], season[i] != 0, held[i] != 0, teach
        )


@kernel
def borrow_row(state, row):  # type: ignore[no-untyped-def]
    """`borrow`, by number."""
    borrow(state[row])


class Bank:
    """Judges points by row. Rows are the caller's; `ensure` makes them exist."""

    def __init__(self) -> None:
        self.state: NDArray[np.void] = lined(0, MODEL)

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return int(self.state.size)

    def ensure(self, rows: int) -> None:
        """Make at least `rows` rows exist; new ones know nothing."""
        self.state = longer(self.state, rows)

    def prime(self, row: int, donor: int) -> None:
        """Start a row from what the donor knows of shape, spread and tails; its level is its own first value."""
        self.state[row] = self.state[donor]
        borrow_row(self.state, row)

    def clear(self, row: int) -> None:
        """Make a row know nothing."""
        self.state[row] = np.zeros((), MODEL)

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
        judge(rows, times, values, *flags, teach, self.state, *out)
        return out

    def warm(self, rows: ArrayLike) -> NDArray[np.bool_]:
        """Which of the rows know enough by themselves to say something, and have done so for a minute."""
        at = np.asarray(rows, np.int64)
        return np.asarray((self.state["n"][at] >= KNOWN) & (self.state["learned"][at] >= 60.0))

    def take(self, rows: ArrayLike) -> bytes:
        """State of some rows, to be put back by `put`."""
        return self.state[np.asarray(rows, np.int64)].tobytes()

    def put(self, rows: ArrayLike, data: bytes) -> None:
        """Put back what `take` gave, into as many rows."""
        at = np.asarray(rows, np.int64)
        self.ensure(int(at.max(initial=-1)) + 1)
        self.state[at] = np.frombuffer(data, MODEL)

    def to_bytes(self) -> bytes:
        """State of all rows."""
        return self.state.tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Bank":
        """The bank that `to_bytes` described, to the bit."""
        bank = cls()
        bank.state = lined(len(data) // MODEL.itemsize, MODEL)
        bank.state[:] = np.frombuffer(data, MODEL)
        return bank
