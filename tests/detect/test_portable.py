"""Our own exponential and logarithm against the library's."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly.detect.portable import faded, log10


@settings(deadline=None)  # the first example compiles
@given(st.floats(0.0, 1e6))
def test_what_faded_is_what_the_library_says(x: float):
    """To eleven digits, from nothing at all to everything."""
    assert faded(x) == pytest.approx(-math.expm1(-x), rel=1e-11, abs=1e-300)


@settings(deadline=None)  # the first example compiles
@given(st.floats(1e-300, 1e300))
def test_the_logarithm_is_the_librarys(x: float):
    """To thirteen digits."""
    assert log10(x) == pytest.approx(math.log10(x), rel=1e-13, abs=1e-15)
