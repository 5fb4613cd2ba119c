"""Memories are in seconds: one signal, however often it is looked at, has the same anomalies.

A signal is eight days of values ten seconds apart; it is looked at every 10, 60 and 300 s. Each series has one fault of 30
to 90 minutes, of ten spreads, on the last day. The evidence asked for is the shipped `threshold.alert`. In its first days a
series seen every 300 s has too few points for that: of a level with one day learned, three in four such faults are found.
"""

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.detect.side_by_side import said_of

from anomaly.config.settings import Threshold

SERIES, FINEST, HOURS = 20, 10, 192  # s
NOISY = np.random.default_rng(11).normal(size=(HOURS * 360, SERIES))
TIME = np.arange(HOURS * 360)[:, None] * FINEST / 86_400.0  # days
SIGNALS: dict[str, tuple[NDArray[np.float64], float]] = {  # with what a spread is
    "a level": (100.0 + NOISY, 1.0),
    "a day": (100.0 + 30.0 * np.sin(2.0 * np.pi * TIME) + 3.0 * NOISY, 3.0),
    "positive": (50.0 * np.exp(0.3 * NOISY), 16.0),
}


def faulty(signal: NDArray[np.float64], spread: float) -> NDArray[np.float64]:
    """The signal with a fault in each series."""
    rng, values = np.random.default_rng(12), signal.copy()
    for series in range(SERIES):
        start, minutes = rng.integers(180 * 360, 188 * 360), rng.integers(30, 91)
        values[start : start + 6 * minutes, series] += 10.0 * spread
    return values


@cache
def starts(kind: str, every: int) -> list[tuple[int, int]]:
    """Series and start, in ms, of each anomaly with the evidence, seen every so many seconds."""
    seen = faulty(*SIGNALS[kind])[:: every // FINEST]
    said = said_of(seen, every)
    evident = said.score >= Threshold().alert
    return sorted({(int(r), int(s)) for r, s in zip(said.row[evident], said.started[evident], strict=True)})


def unmatched(some: list[tuple[int, int]], others: list[tuple[int, int]], within: int) -> int:
    """How many have none of the others of their series that starts within so many seconds."""
    return sum(all(o != r or abs(t - s) > within * 1000 for o, t in others) for r, s in some)


BLIND = pytest.mark.xfail(reason="a series with a daily season has too little evidence at 300 s after a week", strict=True)
PAIRS = [
    pytest.param(kind, fine, coarse, marks=BLIND if kind == "a day" and coarse == 300 else ())
    for kind in SIGNALS
    for fine, coarse in ((10, 60), (60, 300), (10, 300))
]


@pytest.mark.parametrize(("kind", "fine", "coarse"), PAIRS)
def test_the_same_signal_seen_less_often_has_nine_of_ten_of_the_same_anomalies(kind: str, fine: int, coarse: int):
    """Either way, starts within twice the coarser interval."""
    a, b = starts(kind, fine), starts(kind, coarse)
    assert min(len(a), len(b)) >= 0.9 * SERIES
    assert unmatched(a, b, 2 * coarse) <= 0.1 * len(a)
    assert unmatched(b, a, 2 * coarse) <= 0.1 * len(b)
