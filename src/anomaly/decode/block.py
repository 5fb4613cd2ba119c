"""What decode hands to detect: the points of the groups of one partition, and how far their source was heard."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from anomaly.decode.identity import Series, pack, unpack
from anomaly.decode.points import Points
from anomaly.decode.texts import Strung


@dataclass(slots=True)
class Announced:
    """Series that come for the first time, or again now and then: hash uint64 (n,), and each one's text (`identity.pack`).

    Whoever knows a hash does not look at its text.
    """

    hash: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))
    text: Sequence[bytes] = ()

    def __len__(self) -> int:
        return len(self.text)

    def __iter__(self) -> Iterator[Series]:
        return (unpack(hashed, text) for hashed, text in zip(self.hash.tolist(), self.text, strict=True))

    def taken(self, at: NDArray[np.intp]) -> "Announced":
        """Those of them, in this order."""
        return Announced(self.hash[at], Strung.of(self.text).taken(at)) if len(at) < len(self) else self

    def without(self, at: Sequence[int]) -> "Announced":
        """The others."""
        return self.taken(np.delete(np.arange(len(self)), at)) if len(at) else self

    def holding(self, *words: bytes) -> list[int]:
        """Which of them hold one of these words in their texts, in order."""
        return Strung.of(self.text).holding(*words)

    @classmethod
    def of(cls, series: Iterable[Series]) -> "Announced":
        """Of series one has at hand."""
        held = list(series)
        return cls(np.fromiter((s.hash for s in held), np.uint64, len(held)), [pack(s) for s in held])

    @classmethod
    def joined(cls, parts: Sequence["Announced"]) -> "Announced":
        """All of them, in order."""
        texts = [Strung.of(p.text) for p in parts]
        text = Strung(np.concatenate([t.raw for t in texts]), np.concatenate([t.size for t in texts]))
        return cls(np.concatenate([p.hash for p in parts]), text)


@dataclass(slots=True)
class Block:
    """Points of one input range [offset, next_offset) of (source, partition), for one partition of anomaly.points.

    A point's record has the offset `offset + points.record`: a receiver that has taken all below some offset knows which
    points of a block it has not.
    `heard` is the event time in ms to which the input partition was heard, 0 if not known; a block without points is a
    tick: it only says that. `lateness` is the source's, in ms. `series` announces those whose points come for the first
    time, or again now and then. `epoch` tells the source from one of the same name before it, whose offsets began as well; 0
    where nobody knows.
    """

    source: str
    partition: int
    offset: int
    next_offset: int
    heard: int
    lateness: int
    points: Points
    series: Announced = field(default_factory=Announced)
    epoch: int = 0
