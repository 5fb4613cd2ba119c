"""Exponential and logarithm of our own: the same bits on every machine, and cheaper than the library's.

What a C library returns differs in the last bit from one version and processor to the next, and through a comparison such a
bit becomes another state, while checkpoints and workers of a fleet have to agree. Sums, products, quotients and square roots
are the same everywhere (IEEE 754), so these are made of nothing else; nothing here may be compiled with `fastmath`, which
reorders them. Relative errors: `faded` below 1e-11, `log10` below 1e-13, checked against `math` by the tests.
Sources: the series of exp and of the inverse hyperbolic tangent; 1 - exp(-2x) = f(x) (2 - f(x)) for f(x) = 1 - exp(-x).
"""

import math

from anomaly.compiled import inlined

SMALL = 1.0 / 64.0  # below it five terms of the series do
LOG10_2, LOG10_E, ROOT_HALF = math.log10(2.0), math.log10(math.e), math.sqrt(0.5)


@inlined
def faded(x):  # type: ignore[no-untyped-def]
    """1 - exp(-x) for x >= 0: how much of an average has faded after x."""
    doublings = 0
    while x > SMALL:
        x *= 0.5
        doublings += 1
    f = x * (1.0 - x * 0.5 * (1.0 - x * (1.0 / 3.0) * (1.0 - x * 0.25 * (1.0 - x * 0.2))))
    for _ in range(doublings):
        f *= 2.0 - f
    return f


@inlined
def log10(x):  # type: ignore[no-untyped-def]
    """Decimal logarithm of x > 0."""
    part, exponent = math.frexp(x)  # exact
    if part < ROOT_HALF:
        part, exponent = 2.0 * part, exponent - 1
    t = (part - 1.0) / (part + 1.0)
    t2, series = t * t, 0.0
    for k in (19.0, 17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0):
        series = series * t2 + 1.0 / k
    return exponent * LOG10_2 + 2.0 * LOG10_E * t * series
