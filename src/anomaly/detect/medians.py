"""How far one value lies from the others: medians that leave it out, on a scale on which what multiplies is added.

Values are the first n of float64 arrays, sorted; `left_out` is the place of the one that is compared, -1: none. The scale is
y = sign(x) log10(1 + |x| / c), with c what is too small to matter. The deviation of a few is shrunk towards PRIOR_SPREAD,
because three of five peers that happen to agree prove no small spread. NaN does not occur.
Sources: F. Hampel, "The influence curve and its role in robust estimation" (1974): the median deviation; C. Croux and P.
Rousseeuw, "Time-efficient algorithms for two highly robust estimators of scale" (1992): its small-sample factors.
Weak where half of the values are off in the same way.
"""

import math

from anomaly.compiled import bare, inlined
from anomaly.detect.portable import LOG10_E, faded, log10

PRIOR_SPREAD, PRIOR = 0.065, 4.0  # about 16 %, worth so many instances
TO_DEVIATION = 1.4826  # times the median deviation, of Gaussians
SMALL = (1.0, 1.0, 1.196, 1.495, 1.363, 1.206, 1.200, 1.140, 1.129, 1.107)  # and of so few
TINY = 1e-12
LN10 = 1.0 / LOG10_E


@inlined
def raised(y):  # type: ignore[no-untyped-def]
    """10 ** y for y >= 0."""
    return 1.0 / max(1.0 - faded(min(y, 12.0) * LN10), TINY)


@inlined
def on_scale(x, c):  # type: ignore[no-untyped-def]
    """What multiplies, added."""
    y = log10(1.0 + abs(x) / c)
    return y if x >= 0.0 else -y


@inlined
def off_scale(y, c):  # type: ignore[no-untyped-def]
    """The value at `y`."""
    x = c * (raised(abs(y)) - 1.0)
    return x if y >= 0.0 else -x


@bare
def sort(keys, along, n):  # type: ignore[no-untyped-def]
    """Sort the first n of `keys` in place, `along` with them (Shell's method)."""
    apart = 1
    while apart < n // 3:
        apart = 3 * apart + 1
    while apart > 0:
        for i in range(apart, n):
            key, other, j = keys[i], along[i], i
            while j >= apart and keys[j - apart] > key:
                keys[j], along[j] = keys[j - apart], along[j - apart]
                j -= apart
            keys[j], along[j] = key, other
        apart //= 3


@bare
def middle(y, n, left_out):  # type: ignore[no-untyped-def]
    """The median of n sorted values without the one at `left_out`, -1: of all."""
    m = n - 1 if left_out >= 0 else n
    low, high = (m - 1) // 2, m // 2
    low += left_out >= 0 and low >= left_out
    high += left_out >= 0 and high >= left_out
    return 0.5 * (y[low] + y[high])


@bare
def deviation(y, n, left_out, centre):  # type: ignore[no-untyped-def]
    """The median distance of n sorted values from `centre`, without the one at `left_out`."""
    m = n - 1 if left_out >= 0 else n
    up = 0
    while up < n and y[up] <= centre:
        up += 1
    down, first, last, found = up - 1, (m - 1) // 2, m // 2, 0
    total = 0.0
    while found <= last:
        if down == left_out and down >= 0:
            down -= 1
        if up == left_out:
            up += 1
        if up >= n or (down >= 0 and centre - y[down] <= y[up] - centre):
            distance, down = centre - y[down], down - 1
        else:
            distance, up = y[up] - centre, up + 1
        total += distance if found == first else 0.0
        total += distance if found == last else 0.0
        found += 1
    return 0.5 * total


@bare
def spread(y, n, left_out, centre, prior):  # type: ignore[no-untyped-def]
    """The standard deviation of the others, as far as so few can tell."""
    m = n - 1 if left_out >= 0 else n
    factor = SMALL[m] if m < len(SMALL) else m / (m - 0.8)
    own = TO_DEVIATION * factor * deviation(y, n, left_out, centre)
    return math.sqrt((m * own * own + PRIOR * prior * prior) / (m + PRIOR))
