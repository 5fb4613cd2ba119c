"""A series is judged usefully five minutes after its first point, one point every ten seconds.

An anomaly is one with the evidence of the shipped `threshold.alert`. Of noise that is as its neighbours are there is less
evidence in five minutes than that: of an AR(1) with 0.8 a third of such steps has it, so it is none of the kinds here.
"""

from collections.abc import Callable

import numpy as np
import pytest
from tests.detect.side_by_side import said_of

from anomaly.config.settings import Threshold

SERIES, STEP, QUIET, HOUR = 100, 10, 30, 360  # ms at s; points before the step, and in an hour

Noise = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
NOISES: dict[str, tuple[Noise, float]] = {  # with the spread of each
    "white, about zero": (lambda rng, size: rng.normal(size=size), 1.0),
    "white, about a hundred": (lambda rng, size: 100.0 + rng.normal(size=size), 1.0),
    "log-normal": (lambda rng, size: rng.lognormal(0.0, 0.8, size), 1.3),
    "Poisson": (lambda rng, size: rng.poisson(5.0, size).astype(float), 5.0**0.5),
}


def anomalies(values: np.ndarray) -> dict[tuple[int, int], int]:
    """Series and start of each anomaly of values (points, series), and the point at which it had the evidence."""
    said = said_of(values, STEP)
    evident = np.flatnonzero(said.score >= Threshold().alert)[::-1]  # the first of each is kept
    return {(int(said.row[i]), int(said.started[i])): int(said.index[i]) // SERIES for i in evident}


@pytest.mark.parametrize("kind", NOISES)
def test_a_step_of_ten_spreads_after_five_minutes_is_found_on_nine_of_ten_series(kind: str):
    noise, spread = NOISES[kind]
    values = noise(np.random.default_rng(3), (QUIET + 60, SERIES))
    values[QUIET:] += 10.0 * spread
    found = {row for (row, _), point in anomalies(values).items() if point >= QUIET}
    assert len(found) >= 0.9 * SERIES


@pytest.mark.parametrize("kind", NOISES)
def test_in_its_first_hour_a_hundred_series_give_one_false_anomaly_at_most(kind: str):
    noise, _ = NOISES[kind]
    assert len(anomalies(noise(np.random.default_rng(4), (HOUR, SERIES)))) <= 1


def test_a_step_of_a_thousandth_of_the_level_is_none():
    """A spread below RELATIVE_FLOOR of the value is not told from rounding, and ten of it are a thousandth here."""
    values = 10_000.0 + np.random.default_rng(3).normal(size=(QUIET + 60, SERIES))
    values[QUIET:] += 10.0
    assert not anomalies(values)
