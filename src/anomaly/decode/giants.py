"""The beats of giants: how a partition that holds a few metrics of a group hears that the group is there.

A giant is spread over the partitions of anomaly.points by metric. Whether a group is silent is judged where its series are,
and a partition whose metrics of it have ended must not take the group for silent. So with a point of a giant, every
BEAT_EVERY of data time for each input partition, goes a beat to every partition: a point of a series of the group that is
no sender's, flagged, which detect hears and does not judge. It has the time and the record of the point that it came with:
who has taken that record takes no beat of it either.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anomaly.decode.block import Announced
from anomaly.decode.identity import Beat
from anomaly.decode.points import Flag, Kind, Points

# ms of data time: far less than the shortest silence, 45 s, and to a giant of a hundred thousand points a second nothing.
BEAT_EVERY = 5_000


@dataclass(frozen=True, slots=True)
class Beats:
    """Beats in order: the points that they go with, int64 (n,), and their series, uint64 (n,) and as they are announced."""

    at: NDArray[np.int64]
    series: NDArray[np.uint64]
    announced: Announced

    def __len__(self) -> int:
        return int(self.at.size)


class Giants:
    """Giants that were met, numbered from 1, and when each had its last beat."""

    def __init__(self) -> None:
        self._beats = [Beat(0, b"")]
        self._numbers: dict[int, int] = {}
        self._beaten: dict[tuple[str, int], NDArray[np.int64]] = {}

    def number(self, beat: Beat | None) -> int:
        """The number of a giant by its beat; 0 for a group that is none."""
        if beat is None:
            return 0
        if beat.hash not in self._numbers:
            self._numbers[beat.hash] = len(self._beats)
            self._beats.append(beat)
        return self._numbers[beat.hash]

    def beaten(self, source: str, partition: int) -> NDArray[np.int64]:
        """By number the time of the newest beat that came by an input partition, ms; 0: none did."""
        known = self._beaten.get((source, partition), np.zeros(0, np.int64))
        if known.size < len(self._beats):
            known = self._beaten[source, partition] = np.append(known, np.zeros(len(self._beats) - known.size, np.int64))
        return known

    def forget(self, source: str, partition: int) -> None:
        """An input partition may be read from further back: what comes then has its beats again."""
        self._beaten.pop((source, partition), None)

    def beats(self, at: NDArray[np.int64], numbers: Sequence[int] | NDArray[np.uint32]) -> Beats:
        """Beats of these giants, one with each of the points `at`."""
        each = [self._beats[number] for number in numbers]
        new = sorted(set(each))
        announced = Announced(np.array([beat.hash for beat in new], np.uint64), [beat.text for beat in new])
        return Beats(at, np.array([beat.hash for beat in each], np.uint64), announced)


def with_beats(points: Points, own: NDArray[np.int64], beats: Beats) -> Points:
    """The points at `own`, which rises, and each beat behind the point that it goes with or would stand behind."""
    before = np.searchsorted(own, beats.at, "right")
    part, at = points.take(np.insert(own, before, beats.at)), before + np.arange(len(beats))
    part.series[at], part.kind[at], part.flags[at] = beats.series, Kind.GAUGE, Flag.BEAT
    part.start[at], part.value[at], part.count[at], part.writer[at] = 0, 1.0, 0.0, 0
    part.bucket_at[at], part.bucket_len[at] = 0, 0
    return part
