"""Pages that may still be sent: a token bucket, a week's budget deep and refilled by as much a week.

So any seven days see at most twice the budget. It starts half full: the first days are those in which least is known.
Below one page a week the bucket is still one page deep, or none would ever go. Times are ms of event time.
"""

from msgspec import Struct

WEEK_MS = 604_800_000
AT_START = 0.5


class Bucket(Struct):
    """What is left at the time `at`, in pages; NaN before the first look."""

    left: float = float("nan")
    at: int = 0

    def refill(self, per_week: float, time: int) -> None:
        """Let time go on to `time`; going back changes nothing."""
        depth = max(per_week, 1.0)
        if self.left != self.left:
            self.left, self.at = max(AT_START * depth, 1.0), time
        self.left = min(self.left + per_week * max(time - self.at, 0) / WEEK_MS, depth)
        self.at = max(time, self.at)

    @property
    def has_one(self) -> bool:
        """Whether a page is left."""
        return self.left >= 1.0

    def take(self) -> None:
        """A page is sent."""
        self.left -= 1.0

    def give_back(self) -> None:
        """A page turned out to be none that counts; the next `refill` sees to the depth."""
        self.left += 1.0
