"""How surprising a statistic is on this series: the tail above a high quantile that the series itself taught.

State is four pairs of float32 per series, (quantile u, mean excess b) of a statistic v >= 0 (no unit). Above u the tail
is taken as exponential: a heavier one, in the square root of v, finds 25 windows of NAB at a score of 6 where this finds
40. What an exponential tail would call impossible of a new worst latency, the cap by the number of looks takes back.
Source: peaks over threshold, J. Pickands (1975); the quantile by stochastic approximation, H. Robbins and S. Monro
(1951), with the tail's own density at u as its step.
Weak on series that are quiet for long and then burst: hence the floors, below which a tail never shrinks, and the cap
by what was seen, which is worth 3 points on NAB and three of four false alarms at 6.
"""

import math

from anomaly.compiled import inlined
from anomaly.detect.portable import log10

SHARE = 0.028  # of the points lie above u: enough to learn from, few enough to be a tail
CLAIM = 2.0  # decades that may be claimed per decade of independent looks: the tail's shape is a guess, not a count
PRIOR = 35.0  # points that the prior is worth: about one exceedance
FARTHEST = 6.0  # excesses that one point may teach
MOST_STEP = 0.1  # share of the mean excess that one point may be, however young the row
AT_QUANTILE = -math.log10(SHARE)
LN10 = math.log(10.0)

# log10(1 + x) is never below this times x / (2 + x): which tells nearly every point from the capped ones, without it.
BELOW = 2.0 * math.log10(math.e)


@inlined
def surprise(v, quantile, excess, least):  # type: ignore[no-untyped-def]
    """-log10 of the probability of a statistic as great as `v`; `least` are the smallest quantile and excess allowed.

    Below the quantile it is a straight line from 0, which is only to be continuous: nothing there matters.
    """
    u, b = max(quantile, least[0]), max(excess, least[1])
    if v <= u:
        return AT_QUANTILE * v / u
    return AT_QUANTILE + (v - u) / (b * LN10)


@inlined
def reach(score, quantile, excess, least):  # type: ignore[no-untyped-def]
    """The statistic at which the surprise is `score`, which lies above the quantile's."""
    return max(quantile, least[0]) + (score - AT_QUANTILE) * LN10 * max(excess, least[1])


@inlined
def learn(v, weight, quantile, excess, least):  # type: ignore[no-untyped-def]
    """Quantile and mean excess after `v`, which weighs `weight` in an average of all points."""
    over = v - quantile
    if over <= 0.0:
        return quantile - weight * excess, excess
    step = min(weight / SHARE, MOST_STEP)
    excess += step * (min(over, FARTHEST * max(excess, least[1])) - excess)
    return quantile + min(weight * (1.0 / SHARE - 1.0), 0.5) * excess, excess


@inlined
def capped(score, looks, claim):  # type: ignore[no-untyped-def]
    """What may be claimed after so many independent looks, `claim` decades a decade; the rest counts for less than one."""
    if score * (2.0 + looks) <= claim * BELOW * looks:
        return score
    most = claim * log10(1.0 + looks)
    if score <= most:
        return score
    beyond = log10(1.0 + score - most)
    return most + beyond / (1.0 + beyond)
