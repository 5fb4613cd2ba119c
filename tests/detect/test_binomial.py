"""Tails of the beta-binomial, against a sum of fractions."""

from fractions import Fraction
from math import comb, log10

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly.detect.binomial import MOST, lower, upper


def rising(x: Fraction, n: int) -> Fraction:
    """x (x + 1) … (x + n - 1)."""
    found = Fraction(1)
    for i in range(n):
        found *= x + i
    return found


def exact(k: int, n: int, a: Fraction, b: Fraction) -> float:
    """-log10 P(X >= k): the beta functions of whole draws are quotients of rising factorials."""
    parts = [comb(n, j) * rising(a, j) * rising(b, n - j) for j in range(k, n + 1)]
    tail = sum(parts, Fraction(0)) / rising(a + b, n)
    return log10(tail.denominator) - log10(tail.numerator)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_both_tails_are_those_of_a_sum_of_fractions(data: st.DataObject):
    n = data.draw(st.integers(1, 60))
    k, big_n = data.draw(st.integers(0, n)), data.draw(st.integers(0, 300))
    big_k = data.draw(st.integers(0, big_n))
    a, b = Fraction(2 * big_k + 1, 2), Fraction(2 * (big_n - big_k) + 1, 2)

    assert abs(upper([k], [n], [float(a)], [float(b)])[0] - exact(k, n, a, b)) < 1e-6
    assert abs(lower([k], [n], [float(a)], [float(b)])[0] - exact(n - k, n, b, a)) < 1e-6


def test_what_is_new_has_a_prior_far_below_one_half():
    a = Fraction(1, 1000)
    assert abs(upper([3], [20], [float(a)], [300.5])[0] - exact(3, 20, a, Fraction(601, 2))) < 1e-6


def test_the_tails_of_many_draws_are_those_of_a_thousand():
    many, some = upper([30_000.0], [1e6], [3.5], [297.5]), upper([30.0], [MOST], [3.5], [297.5])
    np.testing.assert_allclose(many, some, rtol=1e-9)
    assert upper([1e6], [1e6], [300.5], [0.5])[0] < 1.0  # all of all, where that is usual
