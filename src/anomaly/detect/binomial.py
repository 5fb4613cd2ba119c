"""Tails of the beta-binomial: how surprising k of n are after what was seen.

X is the number of n draws whose share is unknown but for a Beta(a, b): of N earlier ones K were such, a = K + 1/2 and
b = N - K + 1/2. Returned is -log10 P(X >= k), or of P(X <= k); 0 for what is certain. k, n float64 (m,), whole or not,
0 <= k <= n; a, b > 0; NaN is not expected.
Source: A. Gelman et al., Bayesian Data Analysis (3rd ed., 2013), section 2.4; terms by the ratio of neighbours.
Where n is larger than MOST, as large a share of MOST is judged: the cost is bounded, and no thousand draws are independent.
Scores need the C library's gamma function: they may differ in the last digits from one machine to another.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anomaly.compiled import bare

MOST = 1_000.0
LARGE = 1e200  # a sum of terms is brought down before it overflows


@bare
def log_beta(a, b):  # type: ignore[no-untyped-def]
    """Logarithm of the beta function."""
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


@bare
def upper_one(k, n, a, b):  # type: ignore[no-untyped-def]
    """-log10 P(X >= k)."""
    if k <= 0.0:
        return 0.0
    if n > MOST:
        k, n = min(k * (MOST / n), MOST), MOST
    log_sum = math.lgamma(n + 1.0) - math.lgamma(k + 1.0) - math.lgamma(n - k + 1.0)
    log_sum += log_beta(a + k, b + n - k) - log_beta(a, b)
    term, total, j = 1.0, 0.0, k
    while j <= n:
        total += term
        ratio = (n - j) / (j + 1.0) * (a + j) / max(b + n - j - 1.0, 1e-9)
        term *= ratio
        # What is left is less than that, for with b >= 1 the terms only get smaller from here on.
        if ratio < 1.0 and b >= 1.0 and term * (n - j) < 1e-10 * total:
            break
        if total > LARGE:
            term, total, log_sum = term / LARGE, total / LARGE, log_sum + math.log(LARGE)
        j += 1.0
    return max(-(log_sum + math.log(total)) / math.log(10.0), 0.0)


@bare
def each(k, n, a, b, out):  # type: ignore[no-untyped-def]
    """`upper_one` of each."""
    for i in range(k.size):
        out[i] = upper_one(k[i], n[i], a[i], b[i])


def upper(k: ArrayLike, n: ArrayLike, a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """-log10 P(X >= k), shape (m,)."""
    columns = [np.array(x, np.float64) for x in np.broadcast_arrays(k, n, a, b)]
    out = np.empty(columns[0].size)
    each(*columns, out)
    return out


def lower(k: ArrayLike, n: ArrayLike, a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """-log10 P(X <= k), shape (m,)."""
    return upper(np.asarray(n, np.float64) - np.asarray(k, np.float64), n, b, a)
