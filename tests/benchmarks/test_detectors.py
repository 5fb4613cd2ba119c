"""What we are compared with judges by what it knows at the time, and does what its name says."""

from typing import NamedTuple

import numpy as np
import pytest
from benchmarks.peer.detectors import DETECTORS, Absent, Floats
from numpy.typing import NDArray

STEP_MS = 300_000
CUT, STEP = 500, 864  # points: where the short series ends, where the step begins


class Line(NamedTuple):
    """A series."""

    time: NDArray[np.int64]
    value: Floats


class Told(NamedTuple):
    """The scores of noise with a step at its end, and of its beginning alone."""

    name: str
    whole: Floats
    cut: Floats


def noise(points: int) -> Line:
    """Gaussian, around 50."""
    rng = np.random.default_rng(3)
    return Line(1_767_225_600_000 + STEP_MS * np.arange(points), rng.normal(50.0, 1.0, points))


@pytest.fixture(scope="module", params=DETECTORS)
def told(request):
    """Three days and an hour, the hour thirty spreads higher; all by one start of each detector."""
    line = noise(STEP + 12)
    line.value[STEP:] += 30.0
    try:
        return Told(request.param, *DETECTORS[request.param]([line, Line(line.time[:CUT], line.value[:CUT])]).scores)
    except Absent as why:
        pytest.skip(str(why))


def test_what_comes_later_changes_no_earlier_score(told):
    """A series of which the end is cut off has the scores that it had."""
    np.testing.assert_array_equal(told.whole[:CUT], told.cut)


def test_a_great_step_is_scored_above_the_noise_before_it(told):
    """Above all but a twentieth of it, since the second day: to half-space trees it is an end of their range, no more."""
    if told.name != "chance":
        assert told.whole[STEP:].max() > np.quantile(told.whole[288:STEP], 0.95)


def test_ewma_is_the_weighted_mean_and_deviation_of_numpy():
    """Weights written out: a plain average of the first points, then exponential ones."""
    line = noise(400)
    gains = np.array([max(1.0 - 0.5**0.01, 1.0 / (i + 1)) for i in range(399)])
    weight = np.array([g * np.prod(1.0 - gains[i + 1 :]) for i, g in enumerate(gains)])
    mean = weight @ line.value[:399]
    deviation = np.sqrt(weight @ (line.value[:399] - mean) ** 2)
    found = DETECTORS["ewma"]([line]).scores[0]
    assert found[399] == pytest.approx(abs(line.value[399] - mean) / deviation, rel=1e-6)


def test_holt_winters_learns_the_day():
    """A daily spike that came for three weeks is usual; on the day that it does not come, its absence is odd."""
    last = 288 * 21 + 100
    usual = noise(last + 1)
    usual.value[100::288] += 20.0
    missed = Line(usual.time, usual.value.copy())
    missed.value[last] -= 20.0
    with_it, without = (score[last] for score in DETECTORS["holt_winters"]([usual, missed]).scores)
    assert with_it < 1.0
    assert without > 4.0
