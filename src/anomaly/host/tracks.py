"""What chosen series did in a replay, point by point, with what the model said of each: for whoever draws it.

Only what is asked for is kept, so a report asks in a second pass over the same history, when it is known who was alerted.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly.detect.detector import Detector
from anomaly.detect.judge import HIGH, LOW, SCORE, Batch, Verdicts
from anomaly.detect.watch import Chosen, Wanted, watch

Key = tuple[object, ...]  # who a judged row is about: `Subject.key`


class Seen(NamedTuple):
    """Values of a judged row as they came, shape (n,) each: time [ms since the epoch], value and usual band [its unit], and
    score; NaN where nothing was known yet."""

    time: NDArray[np.int64]
    value: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    score: NDArray[np.float64]

    @classmethod
    def joined(cls, parts: Sequence["Seen"]) -> "Seen":
        """One after the other."""
        return cls(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def part(self, index: slice | NDArray[np.bool_]) -> "Seen":
        """Some of it."""
        return Seen(self.time[index], *(column[index] for column in self[1:]))


class Tracks:
    """Notes what the wanted rows of detectors do."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self._parts: dict[Key, list[Seen]] = {}

    def follow(self, detector: Detector) -> None:
        """Watch one more detector."""
        chosen = Chosen(detector, self.wanted)

        def seen(batch: Batch, verdicts: Verdicts) -> None:
            for row in chosen.among(batch.row):
                self._note(detector.register.subjects[row].key, np.flatnonzero(batch.row == row), batch, verdicts)

        watch(detector.judge, after=seen)

    def _note(self, key: Key, at: NDArray[np.intp], batch: Batch, verdicts: Verdicts) -> None:
        judged = verdicts.judged[at]
        one = Seen(batch.time[at], verdicts.value[at], judged[:, LOW], judged[:, HIGH], judged[:, SCORE])
        self._parts.setdefault(key, []).append(one)

    def all(self) -> dict[Key, Seen]:
        """What each of them did, values that are none left out."""
        whole = {key: Seen.joined(parts) for key, parts in self._parts.items()}
        return {key: seen.part(np.isfinite(seen.value)) for key, seen in whole.items()}
