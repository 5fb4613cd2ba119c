"""Repeat offenders: how often does *this* series do such a thing? An episode is as surprising as it is rare there.

Only series that had an episode have a row: faded counts of its past episodes whose peak reached each of five levels, and
the faded weeks that it is known. A rate per week is estimated as gamma-Poisson, level by level: λ = (c + a) / (w + a / ρ),
where the prior ρ is the fleet's rate at the lowest level, and above it the series' own λ at the level below times the share
of the fleet's episodes that go on to the next: a series that has many middling episodes will have a great one sooner than
one that has none. The surprise is -log10 λ, by the logarithm of the peak between two levels, and a little more for a higher
peak, so that there are no ties.
Source: the conjugate prior of a rate, A. Gelman et al., "Bayesian Data Analysis" (3rd ed.), section 2.6.
Weak on what happens once and then every day: the second time it is still rare.
"""

from hashlib import blake2b

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from anomaly.detect.anomaly import Anomaly, Event
from anomaly.dispatch.forget import HOUR, faded_weeks, kept_after, log10

LEVELS = (2.5, 3.8, 5.8, 8.7, 13.0)  # of the peak: even steps of its logarithm from the level at which episodes open
LOGS = tuple(log10(level) for level in LEVELS)
A = 0.5  # episodes that the prior is worth
PRIOR_WEEKS = 1.0  # of one series, that the fleet's own rate starts with
TIE, HIGHEST = 0.01, 50.0  # decades a unit of the peak; the peak from which on nothing is added
MOST = 100_000  # series; past it a quarter is forgotten, those that had no episode for longest
WEEK_S = 604_800.0

ROW = np.dtype(
    [
        ("key", np.uint64),
        ("pending", np.uint64),  # the episode that is not counted yet, 0: none
        ("last", np.int64),  # ms: the last episode's last event
        ("weeks", np.float64),  # faded, that the series is known
        ("peak", np.float32),  # of the pending one
        ("counts", np.float32, len(LEVELS)),  # faded; peaks that reached each level
    ]
)


class OffendersMemory(Struct, frozen=True):
    """All of it, as it is kept."""

    rows: bytes = b""
    counts: tuple[float, ...] = (0.0,) * len(LEVELS)
    weeks: float = 0.0


def number(*who: object) -> int:
    """A hash of 64 bits, never 0, the same on every machine."""
    return int.from_bytes(blake2b(msgspec.json.encode(who), digest_size=8).digest(), "little") or 1


def who(anomaly: Anomaly) -> int:
    """The series of an anomaly, whatever its seed."""
    return number(*anomaly.key)


class Offenders:
    """The series of one budget that had an episode."""

    def __init__(self, memory: OffendersMemory | None = None) -> None:
        held = memory or OffendersMemory()
        rows = np.frombuffer(held.rows, ROW)
        self._rows: NDArray[np.void] = np.zeros(max(64, rows.size), ROW)
        self._rows[: rows.size] = rows
        self._used = int(rows.size)
        self._place = {key: i for i, key in enumerate(rows["key"].tolist())}
        self._counts, self._weeks = list(held.counts), held.weeks  # the fleet's: sums over the rows

    def __len__(self) -> int:
        return self._used

    def memory(self) -> OffendersMemory:
        """As it is kept."""
        return OffendersMemory(self._rows[: self._used].tobytes(), tuple(self._counts), self._weeks)

    def meet(self, anomaly: Anomaly) -> float:
        """How surprising the episode is, in decades of a rate per week: the greater the rarer. Counted when it ends."""
        at, episode = self._at(anomaly), number(anomaly.id)
        row = self._rows[at]
        if row["pending"] != episode:
            self._count(row)
            row["pending"], row["peak"] = episode, 0.0
        row["peak"], row["last"] = max(float(row["peak"]), min(anomaly.score, 1e30)), anomaly.time
        surprise = self._surprise(row)
        if anomaly.event is Event.CLOSE:
            self._count(row)
        return surprise

    def withdraw(self, anomaly: Anomaly) -> None:
        """The episode turned out to be a fault that nobody is to get used to."""
        at = self._place.get(who(anomaly))
        if at is not None and self._rows[at]["pending"] == number(anomaly.id):
            self._rows[at]["pending"] = 0

    def fade(self, hours: int) -> None:
        """So many hours have gone by."""
        kept, more = kept_after(hours), faded_weeks(hours * HOUR)
        rows = self._rows[: self._used]
        rows["counts"] *= np.float32(kept)
        rows["weeks"] *= kept
        rows["weeks"] += more
        self._counts = [n * kept for n in self._counts]
        self._weeks = self._weeks * kept + self._used * more

    def _at(self, anomaly: Anomaly) -> int:
        key = who(anomaly)
        at = self._place.get(key)
        if at is None:
            at = self._room()
            self._rows[at] = np.zeros((), ROW)
            weeks = faded_weeks(max(anomaly.learned, 0.0) / WEEK_S)
            self._rows[at]["key"], self._rows[at]["weeks"] = key, weeks
            self._place[key] = at
            self._weeks += weeks
        return at

    def _room(self) -> int:
        if self._used >= MOST:
            self._forget()
        if self._used == self._rows.size:
            self._rows = np.concatenate([self._rows, np.zeros(self._rows.size, ROW)])
        self._used += 1
        return self._used - 1

    def _forget(self) -> None:
        """Those that had no episode for longest; the others keep their order."""
        oldest = np.argsort(self._rows["last"][: self._used], kind="stable")[: MOST // 4]
        gone, keep = self._rows[np.sort(oldest)], np.setdiff1d(np.arange(self._used), oldest)
        for row in gone:  # one by one: a sum of numpy's is not the same bits on every machine
            self._weeks -= float(row["weeks"])
            self._counts = [n - float(c) for n, c in zip(self._counts, row["counts"], strict=True)]
        self._rows[: keep.size] = self._rows[keep]
        self._used = int(keep.size)
        self._place = {key: i for i, key in enumerate(self._rows["key"][: self._used].tolist())}

    def _count(self, row: np.void) -> None:
        """The pending episode is one of the past now."""
        if row["pending"]:
            for k, level in enumerate(LEVELS):
                if row["peak"] >= level:
                    row["counts"][k] += 1.0
                    self._counts[k] += 1.0
            row["pending"] = 0

    def _surprise(self, row: np.void) -> float:
        peak = float(row["peak"])
        more = TIE * min(peak, HIGHEST)
        x = log10(max(peak, LEVELS[0]))
        k = sum(x >= at for at in LOGS) - 1
        low = self._rarity(row, k)
        if k == len(LEVELS) - 1:
            return low + more
        share = (x - LOGS[k]) / (LOGS[k + 1] - LOGS[k])
        return low + share * (self._rarity(row, k + 1) - low) + more

    def _rarity(self, row: np.void, k: int) -> float:
        """-log10 of the rate per week at which the series reaches the level."""
        rate, before = 1.0, max(self._weeks, 0.0) + PRIOR_WEEKS
        for count, own in zip(self._counts[: k + 1], row["counts"].tolist(), strict=False):
            fleet = max(count, 0.0) + A
            rate, before = (own + A) / (float(row["weeks"]) + A * before / (rate * fleet)), fleet
        return -log10(rate)
