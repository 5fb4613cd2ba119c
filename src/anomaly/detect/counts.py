"""k of n against what was usual: errors of requests, right at low traffic.

State is one row per judged ratio, dtype RATIO: `errors`, `total` as learned, fading with MEMORY; `k5`, `n5` the same over
about five minutes, `k1`, `n1` over about one, and `k60`, `n60` over an hour or two, all fading exponentially; `carried_k`,
`carried_n` what came since `since` in cells of too few events; `tally_k`, `tally_n` all that came since the row's episode
began; `last` ms of the newest cell, 0 before the first. Counts are events, times ms since the epoch.
The score is -log10 P(X >= k) for X of a beta-binomial with n draws and a beta of the learned counts: at two requests an
error is no surprise, at two thousand ten are. NaN: too few events to say anything; 0: no more errors than expected.
Where not even five minutes bring enough events, the last hour or two are judged, whenever one comes: five errors of the six
requests of a night are told with the fifth.
Sources: A. Gelman et al., Bayesian Data Analysis (3rd ed., 2013), section 2.4: the predictive of a binomial; E. Wilson,
"Probable inference, the law of succession, and statistical inference" (1927): the share that few events prove.
What is learned is equal to the bit on every machine but where a score lies within a rounding of SURPRISING: scores need the
C library's gamma function and logarithm.
Weak where errors come in bursts of one cause: draws are then not independent, which the cap on what is learned softens.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anomaly.compiled import bare
from anomaly.detect import adaptive, gain, season
from anomaly.detect.binomial import log_beta
from anomaly.pool import grown

RATIO = np.dtype(
    [
        ("errors", "f8"), ("total", "f8"), ("k5", "f8"), ("n5", "f8"), ("k1", "f8"), ("n1", "f8"), ("carried_k", "f8"),
        ("carried_n", "f8"), ("since", "i8"), ("last", "i8"), ("first", "i8"), ("tally_k", "f8"), ("tally_n", "f8"),
        ("k60", "f8"), ("n60", "f8"),
    ]
)  # fmt: skip

MEMORY = 7 * 86_400.0  # half-life in seconds of what is usual
WINDOW, MINUTE, HOUR = 150.0, 30.0, 3_600.0  # half-lives in seconds of the three windows
PRIOR_ERRORS, PRIOR_TOTAL = 0.5, 100.0  # before anything is known: about 1 in 200
# The learned ratio is worth so many requests at most: real error ratios wander, whatever the number of requests behind them.
BELIEVED = 2_000.0
LOST, FEWEST_LOST = 0.1, 20.0  # traffic is lost if so little of so many events is left
DAYS, WARY = 86_400.0, 1.5  # seconds after which there is a time of day; times that its spread may be underrated
CARRY = 300_000  # ms for which too few events wait for more, where there usually are more
HELD = 0.03  # weight of a cell while an episode is open
DOUBTED = 0.2  # weight of a cell that is surprising, but opens nothing
SURPRISING = 2.0
SUREST = 30.0  # beyond this nothing is surer, and no draw is that independent
RARE = 0.001  # share of what is usual that lies beyond the band on each side
WIDE = 3.09  # the same in standard deviations, where so MANY errors are expected that a normal does
MANY = 50.0
CERTAIN = 3.0  # standard errors: once in 700 a share that is just below `bad` passes for it


@bare
def surprise(k, n, a, b):  # type: ignore[no-untyped-def]
    """-log10 P(X >= k), X beta-binomial of n draws and Beta(a, b); 0 where k is not above the expectation."""
    if k <= n * a / (a + b):
        return 0.0
    log_first = math.lgamma(n + 1.0) - math.lgamma(k + 1.0) - math.lgamma(n - k + 1.0)
    log_first += log_beta(a + k, b + n - k) - log_beta(a, b)
    term, total, j = 1.0, 0.0, k
    while j <= n and term > 1e-12 * total:
        total += term
        term *= (n - j) / (j + 1.0) * (a + j) / max(b + n - j - 1.0, 1e-9)
        j += 1.0
    return max(-(log_first + math.log(total)) / math.log(10.0), 0.0)


@bare
def believed(row):  # type: ignore[no-untyped-def]
    """The beta that the learned counts are worth: (a, b)."""
    a, n = row.errors + PRIOR_ERRORS, row.total + PRIOR_TOTAL
    share = min(BELIEVED / n, 1.0)
    return max(a * share, PRIOR_ERRORS), (n - a) * share  # no error is so rare that a single one is an alarm


@bare
def band(n, a, b):  # type: ignore[no-untyped-def]
    """The ratios that n events show without surprise: all but RARE of the beta-binomial on each side, (low, high)."""
    p = a / (a + b)
    if n * p > MANY:
        spread = WIDE * math.sqrt(n * p * (1.0 - p) * (a + b + n) / (a + b + 1.0))
        return max(p - spread / n, 0.0), min(p + spread / n, 1.0)
    term, below, k, low = math.exp(log_beta(a, b + n) - log_beta(a, b)), 0.0, 0.0, -1.0
    while k < n and below + term < 1.0 - RARE:
        below += term
        low = k if low < 0.0 and below > RARE else low
        term *= (n - k) / (k + 1.0) * (a + k) / max(b + n - k - 1.0, 1e-9)
        k += 1.0
    return max(low - 0.5, 0.0) / n, min((k + 0.5) / n, 1.0)


@bare
def loss(k, expected, spread):  # type: ignore[no-untyped-def]
    """-log10 P(X <= k) where `expected` events with that standard deviation are usual; 0 unless nearly all are gone.

    Gamma-Poisson: at least as wide as chance among independent events. A model of values cannot know that nothing at all
    is more than far away: where seventy-five requests a cell are usual, none is a fact about the service.
    """
    if not (expected >= FEWEST_LOST and k <= LOST * expected):
        return 0.0
    excess = max(spread * spread - expected, 1e-6 * expected)
    r = expected * expected / excess
    term, total, j = 1.0, 0.0, 0.0
    while j <= k:
        total += term
        term *= (j + r) / (j + 1.0) * expected / (r + expected)
        j += 1.0
    return min(max(-(r * math.log(r / (r + expected)) + math.log(total)) / math.log(10.0), 0.0), SUREST)


@bare
def is_visited(s, time):  # type: ignore[no-untyped-def]
    """Whether this time of day was there before today."""
    if season.goes_on(time, s.last):
        return s.day_age == season.OLD
    return s.profile[season.day_bucket(time)] != season.EMPTY


@bare
def at_least_usual(s, time, rate):  # type: ignore[no-untyped-def]
    """The rate that is expected now or half an hour later, whichever is less: the evening may come early."""
    now = adaptive.expected(s, time, rate - s.anchor, True)
    soon = season.read(s, season.day_bucket(time + season.HALF_HOUR))
    return s.anchor + (now if math.isnan(soon) else min(now, soon))


@bare
def gone(s, time, rate, seconds):  # type: ignore[no-untyped-def]
    """The evidence that requests stay away at a time of day at which they always come, and the rates that are usual then:
    (score, low, high).

    By the season alone, and by chance among independent requests, or by what changes from one cell to the next where that is
    more: a spread over days that are not known yet, or over day and night, would hide all of a small service's traffic.
    """
    nothing = 0.0, math.nan, math.nan
    if not (rate >= 0.0 and s.learned >= DAYS and is_visited(s, time)):
        return nothing
    usual = at_least_usual(s, time, rate)
    expected = usual * seconds
    if expected < FEWEST_LOST or rate > LOST * usual:
        return nothing
    spread = WARY * max(math.sqrt(expected), s.rough * math.sqrt(seconds * s.interval))
    reach = WIDE * spread / seconds
    return loss(rate * seconds, expected, spread), max(usual - reach, 0.0), usual + reach


@bare
def fade(row, time):  # type: ignore[no-untyped-def]
    """Let what is remembered fade until `time`."""
    dt = max((time - row.last) / 1000.0, 0.0)
    memory, window = 1.0 - gain.share(dt, MEMORY), 1.0 - gain.share(dt, WINDOW)
    minute, hour = 1.0 - gain.share(dt, MINUTE), 1.0 - gain.share(dt, HOUR)
    row.errors, row.total = row.errors * memory, row.total * memory
    row.k5, row.n5 = row.k5 * window, row.n5 * window
    row.k1, row.n1 = row.k1 * minute, row.n1 * minute
    row.k60, row.n60 = row.k60 * hour, row.n60 * hour


@bare
def take(row, time, k, n):  # type: ignore[no-untyped-def]
    """Add a cell to the windows and to what is carried: (errors, total) since the last judgement."""
    if row.last == 0:
        row.first, row.last = time, time
    fade(row, time)
    row.last = time
    row.k5, row.n5 = row.k5 + k, row.n5 + n
    row.k1, row.n1 = row.k1 + k, row.n1 + n
    row.k60, row.n60 = row.k60 + k, row.n60 + n
    if row.carried_n == 0.0 or time - row.since > CARRY:
        row.carried_k, row.carried_n, row.since = 0.0, 0.0, time
    row.carried_k, row.carried_n = row.carried_k + k, row.carried_n + n
    return row.carried_k, row.carried_n


@bare
def at_least(k, n):  # type: ignore[no-untyped-def]
    """The share that k of n events prove: the lower end of Wilson's interval, CERTAIN standard errors wide."""
    share, z2 = k / n, CERTAIN * CERTAIN
    middle = share + z2 / (2.0 * n)
    return (middle - CERTAIN * math.sqrt(share * (1.0 - share) / n + z2 / (4.0 * n * n))) / (1.0 + z2 / n)


@bare
def is_bad(row, k, n, bad, bad_events):  # type: ignore[no-untyped-def]
    """Whether the share of errors surely is a fault whatever was usual, in the cell or in about the last minute.

    Sure, because nothing withholds a page for it: 2 errors of 33 requests are 6 %, and may well be 1 %.
    """
    if not (n > 0.0 and k >= bad * n):
        return False
    return (n >= bad_events and at_least(k, n) >= bad) or (row.n1 >= bad_events and at_least(row.k1, row.n1) >= bad)


@bare
def evidence(row, fewest):  # type: ignore[no-untyped-def]
    """What is judged, (k, n), and beside it the same over a longer time: what was carried and about five minutes, or where
    these are too few events the last hours, for both."""
    if row.n5 < fewest <= row.n60:
        k, n = min(row.k60, row.n60), row.n60
        return k, n, k, n
    return min(row.carried_k, row.carried_n), row.carried_n, min(row.k5, row.n5), row.n5


@bare
def judge_point(ratios, slot, time, k, n, held, fewest, bad, bad_events, teach=True):  # type: ignore[no-untyped-def]
    """Judge k errors of n events, then learn them if `teach`: (value, score, low, high, learned, bad); NaN value: too few
    events.

    A cell not newer than the last teaches nothing and says nothing.
    """
    row = ratios[slot]
    nothing = math.nan, math.nan, math.nan, math.nan, 0.0, False
    if time <= row.last or n <= 0.0:
        return nothing
    carried_k, carried_n = take(row, time, k, n)
    faulty = is_bad(row, k, n, bad, bad_events)
    k, n, longer_k, longer_n = evidence(row, fewest)
    if n < fewest and not faulty:
        return nothing
    a, b = believed(row)
    score = surprise(k, n, a, b)
    if score > 0.0:
        score = min(max(score, surprise(longer_k, longer_n, a, b)), SUREST)
    low, high = band(n, a, b)
    weight = HELD if held else (DOUBTED if score >= SURPRISING else 1.0)
    if not teach:
        weight = 0.0
    row.errors, row.total = row.errors + weight * min(carried_k, carried_n), row.total + weight * carried_n
    row.carried_k = row.carried_n = 0.0
    return k / n, score, low, high, (time - row.first) / 1000.0, faulty


@bare
def tally(row, k, n):  # type: ignore[no-untyped-def]
    """Count a new cell for an episode that may have begun."""
    row.tally_k, row.tally_n = row.tally_k + k, row.tally_n + n


class Ratios:
    """State of all judged ratios of a partition."""

    def __init__(self) -> None:
        self.state: NDArray[np.void] = np.zeros(0, RATIO)

    def ensure(self, slots: int) -> None:
        """Make at least `slots` rows exist; new ones know nothing but the prior."""
        self.state = grown(self.state, slots)

    def take(self, slots: ArrayLike) -> bytes:
        """State of some ratios, to be put back by `put`."""
        return self.state[np.asarray(slots, np.int64)].tobytes()

    def put(self, slots: ArrayLike, data: bytes) -> None:
        """Put back what `take` gave, into as many slots."""
        at = np.asarray(slots, np.int64)
        self.ensure(int(at.max(initial=-1)) + 1)
        self.state[at] = np.frombuffer(data, RATIO)
