"""Texts by the million, without an object for each.

`Texts` keeps them, each written once, in segments of bytes that are never moved, so that growing copies nothing; a place
int64 is (segment << 32) + offset in it. `Strung` are some of them, one after the other, on their way to somebody.
"""

from collections.abc import Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from anomaly.compiled import kernel
from anomaly.decode.points import ranges

SEGMENT = 1 << 20  # bytes; what a batch of texts leaves free at the end of one is cut off


class Strung(Sequence[bytes]):
    """Texts one after the other: raw uint8 (bytes,), size int64 (n,) of each. A text is an object when it is asked for."""

    def __init__(self, raw: NDArray[np.uint8], size: NDArray[np.int64]) -> None:
        self.raw, self.size = raw, size
        self._end = np.cumsum(size)

    @classmethod
    def of(cls, texts: Sequence[bytes]) -> "Strung":
        """Of texts in any form."""
        if isinstance(texts, Strung):
            return texts
        size = np.fromiter(map(len, texts), np.int64, len(texts))
        return cls(np.frombuffer(b"".join(texts), np.uint8), size)

    def taken(self, at: NDArray[np.intp]) -> "Strung":
        """Those of the texts, in this order."""
        size = self.size[at]
        return Strung(self.raw[ranges(self._end[at] - size, size)], size)

    def holding(self, *words: bytes) -> list[int]:
        """Which of the texts hold one of these words, in order."""
        raw, found = self.raw.tobytes(), set[int]()
        for word in words:
            at = raw.find(word)
            while at >= 0:
                i = int(np.searchsorted(self._end, at, side="right"))
                end = int(self._end[i])
                if at + len(word) <= end:
                    found.add(i)
                at = raw.find(word, at + 1 if at + len(word) > end else end)
        return sorted(found)

    def __len__(self) -> int:
        return int(self.size.size)

    @overload
    def __getitem__(self, i: int) -> bytes: ...
    @overload
    def __getitem__(self, i: slice) -> list[bytes]: ...
    def __getitem__(self, i: int | slice) -> bytes | list[bytes]:
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        end = int(self._end[i])
        return self.raw[end - int(self.size[i]) : end].tobytes()


@kernel
def copy(segment, begin, size, to, out):  # type: ignore[no-untyped-def]
    """Copy ranges of a segment to where they go."""
    for i in range(begin.size):
        for j in range(size[i]):
            out[to[i] + j] = segment[begin[i] + j]


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
        strung = Strung.of(texts)
        return self._put(strung.raw, strung.size)

    def get(self, place: int, size: int) -> bytes:
        """The text at a place."""
        at = place & 0xFFFFFFFF
        return self._segments[place >> 32][at : at + size].tobytes()

    def strung(self, place: NDArray[np.int64], size: NDArray[np.int64]) -> Strung:
        """The texts at these places."""
        raw, to = np.empty(int(size.sum()), np.uint8), np.cumsum(size) - size
        number = place >> 32
        for segment in np.unique(number).tolist():
            mine = np.flatnonzero(number == segment)
            copy(self._segments[segment], place[mine] & 0xFFFFFFFF, size[mine], to[mine], raw)
        return Strung(raw, size)

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
