"""Alarms made of scores, and the threshold that gives so many: what `regressions.py` and `recall.py` have in common.

An alarm begins where a score reaches the threshold and none did so in the QUIET ms before; the first PROBATION of a series
raise none. `Marks` are, of one series, the times (ms, ascending) and scores of the points that could begin one: at each
threshold a point begins an alarm if no point within QUIET before reaches it.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

QUIET_MS = 3_600_000
STEPS = 28  # halvings in the search of a threshold

Floats = NDArray[np.float64]
Times = NDArray[np.int64]


def alarms(time: Times, score: Floats, threshold: float, begin: int) -> Times:
    """When alarms begin, of points from number `begin` on; ms."""
    spoke = time[begin:][score[begin:] >= threshold]
    return spoke[np.diff(spoke, prepend=np.iinfo(np.int64).min // 2) > QUIET_MS]


def lowest(count: Callable[[float], int], scores: Sequence[Floats], most: float) -> float:
    """The lowest threshold that is met and gives at most so many alarms, by halving over the scores' ranks.

    Alarms merge when the threshold falls, so their number is not quite monotonic: what is found is kept to, not the best.
    """
    levels = np.unique(np.concatenate(scores))
    levels = levels[levels > 0]
    low, high = 0, levels.size  # high: never
    for _ in range(STEPS):
        if low >= high:
            break
        middle = (low + high) // 2
        if count(float(levels[middle])) <= most:
            high = middle
        else:
            low = middle + 1
    return float(levels[high]) if high < levels.size else float("inf")
