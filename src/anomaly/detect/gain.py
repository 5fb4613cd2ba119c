"""How much a point weighs in an average: exponential forgetting in time, a running mean while young.

Durations in seconds. Source: T. Finch, "Incremental calculation of weighted mean and variance" (2009), section 9, with
the weight 1 - 0.5 ** (dt / half_life), so that uneven arrival needs no resampling; the floor 1 / (n + 1) makes the first
points count alike instead of leaving the first one its weight for a half-life.
"""

import math

from anomaly.compiled import inlined
from anomaly.detect.portable import faded

LN2 = math.log(2.0)


@inlined
def share(dt, half_life):  # type: ignore[no-untyped-def]
    """Weight of a point that stands for `dt` seconds in an average that is old."""
    return faded(dt * (LN2 / half_life))


@inlined
def gain(dt, half_life, n):  # type: ignore[no-untyped-def]
    """The same in an average that has seen `n` points."""
    return max(share(dt, half_life), 1.0 / (n + 1.0))
