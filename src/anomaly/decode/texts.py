"""Texts by the million, each written once: segments of bytes that are never moved, so that growing copies nothing.

A place int64 is (segment << 32) + offset in it.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from anomaly.decode.points import ranges

SEGMENT = 1 << 20  # bytes; what a batch of texts leaves free at the end of one is cut off


class Texts:
    """Adds texts and gives them back; what is not wanted any more goes by `only`."""

    def __init__(self) -> None:
        self._segments = [np.zeros(0, np.uint8)]
        self._used = 0  # of the last segment

    @property
    def nbytes(self) -> int:
        """What the texts hold in memory."""
        return sum(segment.nbytes for segment in self._segments)

    def add(self, texts: Sequence[bytes]) -> NDArray[np.int64]:
        """The place of each text, shape (n,)."""
        return self._put(np.frombuffer(b"".join(texts), np.uint8), np.fromiter(map(len, texts), np.int64, len(texts)))

    def get(self, place: int, size: int) -> bytes:
        """The text at a place."""
        at = place & 0xFFFFFFFF
        return self._segments[place >> 32][at : at + size].tobytes()

    def only(self, place: NDArray[np.int64], size: NDArray[np.int64]) -> NDArray[np.int64]:
        """Keep these texts and no other; their new places."""
        old, self._segments, self._used = self._segments, [np.zeros(0, np.uint8)], 0
        moved = np.zeros(place.size, np.int64)
        for number, segment in enumerate(old):
            mine = np.flatnonzero(place >> 32 == number)
            moved[mine] = self._put(segment[ranges(place[mine] & 0xFFFFFFFF, size[mine])], size[mine])
        return moved

    def _put(self, text: NDArray[np.uint8], size: NDArray[np.int64]) -> NDArray[np.int64]:
        if self._used + text.size > self._segments[-1].size:
            self._segments[-1] = self._segments[-1][: self._used].copy()
            self._segments.append(np.zeros(max(SEGMENT, text.size), np.uint8))
            self._used = 0
        at, self._used = self._used, self._used + text.size
        self._segments[-1][at : self._used] = text
        return (len(self._segments) - 1 << 32) + at + np.cumsum(size) - size
