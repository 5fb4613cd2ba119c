"""Points whose series was not announced yet: held in arrival order, bounded, and taken once their series is known."""

from collections.abc import Callable
from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from anomaly.decode.index import MISSING
from anomaly.decode.points import Points

Find = Callable[[NDArray[np.uint64]], NDArray[np.int32]]  # rows of series, MISSING where unknown


class Waiting:
    """Holds at most `limit` points."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._points = Points.empty()
        self.lost = False

    def __len__(self) -> int:
        return len(self._points)

    def hold(self, points: Points, at: NDArray[np.intp]) -> int:
        """Hold the points at these places as far as there is room; returns how many were lost."""
        kept = at[: max(self.limit - len(self), 0)]
        self._points = Points.joined([self._points, compact(points.take(kept))])
        self.lost = self.lost or kept.size < at.size
        return int(at.size - kept.size)

    def known(self, find: Find) -> Points:
        """Take out the points whose series has a row by now, in arrival order."""
        if not len(self):
            return Points.empty()
        known = find(self._points.series) != MISSING
        if not known.any():
            return Points.empty()
        taken, self._points = self._points.take(known), compact(self._points.take(~known))
        return taken

    def drop(self, refused: Callable[[NDArray[np.uint64]], NDArray[np.bool_]]) -> int:
        """Let go of the points of series that will get no row; returns how many."""
        gone = refused(self._points.series) if len(self) else np.zeros(0, np.bool_)
        if gone.any():
            self._points = compact(self._points.take(~gone))
        return int(gone.sum())

    def take(self) -> list[bytes]:
        """Its columns, in the order of `Points`."""
        return [getattr(self._points, f.name).tobytes() for f in fields(Points)]

    def restore(self, columns: list[bytes], lost: bool) -> None:
        """What `take` gave."""
        kinds = [getattr(self._points, f.name).dtype for f in fields(Points)]
        held = [np.frombuffer(c, k).copy() for c, k in zip(columns, kinds, strict=True)]
        self._points, self.lost = Points(*held), lost

    def missed(self, series: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Of which series points wait or may have been lost: what comes next is not the first that they ever sent."""
        return np.full(series.size, self.lost) | np.isin(series, self._points.series)


def compact(points: Points) -> Points:
    """The same points over no more buckets than they have."""
    length = points.bucket_len.astype(np.int64)
    at = np.cumsum(length) - length
    source = np.repeat(points.bucket_at - at, length) + np.arange(length.sum())
    points.bucket_at, points.buckets = at, points.buckets[source]
    return points
