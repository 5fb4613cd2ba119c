"""Who looks on while a detector judges: a replay that draws what it saw, an explanation that needs the state of a moment."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from anomaly.detect.detector import Detector
from anomaly.detect.judge import Batch, Judge, Verdicts
from anomaly.detect.subject import Subject
from anomaly.pool import grown

Before = Callable[[Batch], None]
After = Callable[[Batch, Verdicts], None]
Wanted = Callable[[Subject], bool]


def watch(judge: Judge, before: Before = lambda batch: None, after: After = lambda batch, verdicts: None) -> None:
    """Call `before` with each batch while its rows still stand as they did, and `after` with what was found.

    Neither may change anything; who is not watched is as fast as ever.
    """
    plain = judge.judge

    def watched(batch: Batch, outcome: NDArray[np.uint8] | None = None) -> Verdicts:
        before(batch)
        verdicts = plain(batch, outcome)
        after(batch, verdicts)
        return verdicts

    judge.judge = watched  # type: ignore[method-assign]


class Chosen:
    """The judged rows of a detector that somebody wants to watch, by what they are about.

    A row may be given to another series: it is then asked about anew.
    """

    def __init__(self, detector: Detector, wanted: Wanted) -> None:
        self.register, self.wanted = detector.register, wanted
        self._who = np.zeros(0, np.uint64)  # by row: who it was when it was asked about
        self._is_wanted = np.zeros(0, np.bool_)

    def among(self, rows: NDArray[np.int32]) -> list[int]:
        """Those of the rows, in rising order, each once."""
        own = np.unique(rows)
        size = int(own.max(initial=-1)) + 1
        self._who, self._is_wanted = grown(self._who, size), grown(self._is_wanted, size)
        who = self._are(own)
        for row in own[self._who[own] != who].tolist():
            self._is_wanted[row] = self.wanted(self.register.subjects[row])
        self._who[own] = who
        chosen: list[int] = own[self._is_wanted[own]].tolist()
        return chosen

    def _are(self, rows: NDArray[np.int32]) -> NDArray[np.uint64]:
        """A number for who each row is about."""
        t = self.register.tables
        subjects = t.subjects["subject"][rows]
        whole, of = subjects["whole"] != 0, subjects["of"]
        key = np.zeros(rows.size, np.uint64)
        key[whole] = t.aggregates["aggregate"]["key"][of[whole]]
        key[~whole] = t.rows["row"]["key"][of[~whole]]
        numbered: NDArray[np.uint64] = key * np.uint64(8) + subjects["quantity"]
        return numbered
