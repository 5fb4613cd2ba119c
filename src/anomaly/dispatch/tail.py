"""How often does the whole fleet surprise so much? The tail of the incidents' surprise, and the ceiling that follows.

State: faded counts of the incidents that reached each of a grid of levels (an incident counts once a level, so levels are
declustered one by one), and the faded weeks in which they came. Above the highest level with enough incidents the tail is
exponential, by its mean excess.
Source: peaks over threshold, J. Pickands (1975); declustering, M. Leadbetter et al., "Extremes" (1983), chapter 3.
Weak where the fleet changes faster than the counts fade; the feedback is for that.
"""

from msgspec import Struct, field

from anomaly.dispatch.forget import HOUR, faded_weeks, kept_after, log10

LOWEST, WIDTH, LEVELS = -3.0, 0.1, 90  # of the surprise, in decades of a rate per week: up to one in 20,000 years
ENOUGH = 30.0  # incidents at a level from which the tail goes on
START_WEEKS = 0.5  # in which nothing came, before the first: else a first hour would be taken for a rate
LN10 = 2.302585092994046


class Tail(Struct):
    """See above. `counts[j]`: incidents that reached `LOWEST + j * WIDTH`."""

    counts: list[float] = field(default_factory=lambda: [0.0] * LEVELS)
    weeks: float = 0.0

    def reach(self, surprise: float, before: int) -> int:
        """Count an incident up to the levels that it reaches; `before` and returned: how many it has been counted at."""
        now = max(min(int((surprise - LOWEST) / WIDTH) + 1, LEVELS), 0)
        for j in range(before, now):
            self.counts[j] += 1.0
        return max(now, before)

    def withdraw(self, reached: int) -> None:
        """An incident that was counted at so many levels counts no more."""
        for j in range(reached):
            self.counts[j] = max(self.counts[j] - 1.0, 0.0)

    def fade(self, hours: int) -> None:
        """So many hours have gone by."""
        kept = kept_after(hours)
        self.counts = [n * kept for n in self.counts]
        self.weeks = self.weeks * kept + faded_weeks(hours * HOUR)

    def ceiling(self, per_week: float) -> float:
        """The surprise from which on no more than so many incidents come a week; -inf where all of them are fewer."""
        span, most = self.weeks + START_WEEKS, per_week * (self.weeks + START_WEEKS)
        if self.counts[0] <= most:
            return -float("inf")
        at = next((j for j in range(LEVELS) if self.counts[j] <= most), LEVELS - 1)
        above, start = self.counts[at - 1], LOWEST + (at - 1) * WIDTH
        if above >= ENOUGH and self.counts[at] > 0.0:
            return start + WIDTH * log10(above / most) / max(log10(above / self.counts[at]), 1e-9)
        base = self._highest(ENOUGH)
        if base < 0:
            return -float("inf")
        return LOWEST + base * WIDTH + self._excess(base) * LN10 * max(log10(self.counts[base] / span / per_week), 0.0)

    def rate(self, surprise: float) -> float:
        """Incidents a week that reached a surprise, as counted, to the level below it."""
        at = max(min(int((surprise - LOWEST) / WIDTH), LEVELS - 1), 0) if surprise > LOWEST else 0
        return self.counts[at] / (self.weeks + START_WEEKS)

    def _highest(self, enough: float) -> int:
        """The highest level that so many incidents reached, -1: none."""
        return max((j for j in range(LEVELS) if self.counts[j] >= enough), default=-1)

    def _excess(self, base: int) -> float:
        """By how much those that reached a level went beyond it, on the average."""
        return WIDTH * (0.5 + sum(self.counts[base + 1 :]) / self.counts[base])
