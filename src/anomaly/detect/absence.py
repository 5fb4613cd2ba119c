"""Silence of a group that should be heard.

A group is silent if none of its series brought a point while its source was heard: other groups on the same topic did.
The input partition that it came through must have gone on as well: of a backlog one partition is read long before another,
and who has not been read yet is not silent. (So a group alone on its partition is not missed before something else comes
there.) Silence is counted on the source's own clock, which a gap in the source as a whole moves by no more than a few of its
usual steps: when the pipeline stops for ten minutes nobody was silent, we were deaf.
Judged are groups with a history (HISTORY ms, ARRIVALS moments) that a spec marks (`absence: true`); their limit is LEAST or
five usual gaps, whichever is longer. A group of which all series ended by stale markers was removed, and is not missed.
Nor is one that is scaled to zero, as it often is: nobody asked it anything for IDLE_BEFORE before it fell silent, and NAPS
times it has come back from such a silence. It is missed when it sleeps LONGER times as long as it ever did.
What a single series brings is missed by the same rule where a spec asks for it (`sites`).
Where a source got more partitions, groups may be on other ones from then on: until `settled` it is not known who has left,
and only who is heard after it is missed from then on.
Times ms since the epoch and of the data; `usual` gaps ms.
"""

import sys
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly.compiled import bare, inlined
from anomaly.decode.block import Block
from anomaly.decode.points import Points

CHECK = 5_000  # ms of data time between looks
LEAST = 45_000.0
GAPS = 5.0
HISTORY, ARRIVALS = 120_000, 10
IDLE = 60_000  # an input so far behind the others does not hold time back, ms
IDLE_BEFORE, NAPS, LONGER = 30_000, 2, 2.0  # ms, silences, times
LEFT = 600_000  # ms without a point after which a group that is not heard since the source settled has left
DEAF = 15_000.0  # the source's clock goes on by so much in a look at most, or three of its usual steps


class Silence(NamedTuple):
    """A group fell silent (`back` 0), or was heard again at `back` and last at `time`; `usual` ms between its points."""

    group: int
    since: int
    time: int
    usual: float
    back: int


EPOCHS = 8  # of an input that are remembered: who still reads one of them has been asleep for long


class Inputs:
    """How far each input partition was heard, in ms; the time of a source is that of its slowest input that is not idle."""

    def __init__(self) -> None:
        self.heard: dict[tuple[str, int], int] = {}
        self.next: dict[tuple[str, int], int] = {}  # the offset after what was taken, of those that have offsets
        self.epochs: dict[tuple[str, int], list[int]] = {}  # of topics that were the input, the one of now last
        self.time = 0
        self.numbers: dict[tuple[str, int], int] = {}

    def hear(self, source: str, partition: int, time: int) -> None:
        """An input was heard to `time`."""
        place = source, partition
        self.heard[place] = max(self.heard.get(place, 0), time)
        self.time = max(self.time, _slowest(list(self.heard.values())))

    def unseen(self, block: Block) -> Points | None:
        """The points of a block that were not taken yet, by the offsets of their records; None for a block taken before.

        So each input record is taken once, whatever a decoder that was restarted sends again, and however it cuts it. A
        topic made anew has offsets that begin again, and another epoch. Where no epoch is told, it is known by points that
        are newer than all that was taken.
        """
        place = block.source, block.partition
        if not block.next_offset:  # its source has no offsets
            return block.points
        if block.epoch and not self._is_now(place, block.epoch):
            return None
        expected = self.next.get(place, 0)
        self.next[place] = max(expected, block.next_offset)
        if block.offset >= expected:
            return block.points
        again = block.offset + block.points.record < expected
        if not block.epoch and block.points.time[again].max(initial=0) > self.heard.get(place, sys.maxsize):
            self.next[place] = block.next_offset
            return block.points
        if block.next_offset <= expected:
            return None
        return block.points.take(~again)

    def _is_now(self, place: tuple[str, int], epoch: int) -> bool:
        """Whether this is the epoch of an input, from now on at least; not one that is over."""
        known = self.epochs.setdefault(place, [])
        if epoch in known:
            return epoch == known[-1]
        if known:  # else a version that told no epochs took what came before
            self.next.pop(place, None)
        self.epochs[place] = [*known, epoch][-EPOCHS:]
        return True

    def number(self, source: str, partition: int) -> int:
        """A small number for an input."""
        self.heard.setdefault((source, partition), 0)
        return self.numbers.setdefault((source, partition), len(self.numbers))

    def by_number(self) -> NDArray[np.int64]:
        """How far each input was heard, ms, by its number."""
        return np.array([self.heard[place] for place in self.numbers], np.int64)

    def of_others(self, source: str, partition: int) -> int:
        """The same without one of its inputs; no bound where there is no other."""
        newest = max(self.heard.values(), default=0)
        others = [t for place, t in self.heard.items() if place[0] == source and place[1] != partition]
        return min((t for t in others if t >= newest - IDLE), default=sys.maxsize)

    def of(self, source: str) -> int:
        """Time of one source."""
        return _slowest([time for place, time in self.heard.items() if place[0] == source])


def _slowest(times: list[int]) -> int:
    newest = max(times, default=0)
    return min((t for t in times if t >= newest - IDLE), default=0)


@bare
def survey(groups, touched, source, active, settled, heard, back, missed):  # type: ignore[no-untyped-def]
    """Note which groups of a source were heard; returns how many of them came back, and how many are missed."""
    came, gone = 0, 0
    for g in range(groups.size):
        group = groups[g]
        if group.source != source or group.last == 0:
            continue
        if group.last > group.seen:
            wake(group)
            group.seen, group.active, touched[g] = group.last, active, 1
            if group.open != 0:
                back[came] = g
                came += 1
        elif group.open == 0:
            before = group.asleep
            if is_missed(group, active, settled, heard):
                missed[gone] = g
                gone += 1
            if group.asleep != before:
                touched[g] = 1
    return came, gone


@inlined
def wake(group):  # type: ignore[no-untyped-def]
    """A group is heard: if it had been idle and slept, remember for how long."""
    if group.asleep == 2:
        group.naps, group.nap = group.naps + 1, max(float(group.last - group.seen), group.nap)
    if group.asleep != 0:
        group.woke = group.last
    group.asleep = 0


@inlined
def is_missed(group, active, settled, heard):  # type: ignore[no-untyped-def]
    """Whether a watched group that has a history is silent for too long, while its source and its input are heard."""
    if group.watched == 0 or group.alive <= 0 or group.arrivals < ARRIVALS or group.last - group.since < HISTORY:
        return False
    limit, silent = max(LEAST, GAPS * group.usual), active - group.active
    if not (group.last > settled and silent > limit and heard[group.through] - group.last > limit):
        return False
    group.asleep = 2 if group.busy > 0 and group.last - group.busy >= IDLE_BEFORE else 1
    return group.asleep == 1 or group.naps < NAPS or silent > LONGER * group.nap


@dataclass(slots=True)
class Clock:
    """How long a source was heard, all in ms."""

    last: int = 0
    active: float = 0.0
    usual: float = float(CHECK)

    def go_on(self, time: int) -> None:
        """Move to `time`."""
        gap = float(time - self.last) if self.last else 0.0
        self.active += min(gap, max(DEAF, 3.0 * self.usual))
        if self.last:
            self.usual += 0.2 * (min(gap, 3.0 * self.usual) - self.usual)
        self.last = time


@dataclass(slots=True)
class Absence:
    """Who is silent. What is known of each group stands in its row."""

    clocks: dict[int, Clock] = field(default_factory=dict)
    settled: int = 0  # ms from which on it is known who is on this partition, 0: always was; told by the host, and no state

    def is_due(self, source: int, time: int) -> bool:
        """Whether it is time to look at a source again."""
        return time // CHECK * CHECK > self.clocks.setdefault(source, Clock()).last

    def look(
        self, groups: NDArray[np.void], touched: NDArray[np.uint8], source: int, time: int, heard: NDArray[np.int64]
    ) -> list[Silence]:
        """Who fell silent by `time`, and who was heard again; `heard` how far each input was heard, ms, by its number."""
        self.clocks.setdefault(source, Clock()).go_on(time // CHECK * CHECK)
        return self.among(groups, touched, source, heard)

    def among(
        self, groups: NDArray[np.void], touched: NDArray[np.uint8], source: int, heard: NDArray[np.int64]
    ) -> list[Silence]:
        """The same of any that are watched as groups are, at the time of the last look."""
        clock = self.clocks[source]
        back, missed = np.empty(groups.size, np.int64), np.empty(groups.size, np.int64)
        clocks = source, clock.active, self.settled
        many = survey(groups, touched, *clocks, heard, back, missed)
        silent = [self._silent(groups, int(g), clock.last) for g in missed[: many[1]]]
        return [self._again(groups, int(g)) for g in back[: many[0]]] + silent

    def has_left(self, last: int, time: int) -> bool:
        """Whether a group that was last heard then is on another partition by now."""
        return 0 < last <= self.settled < time and time - last > LEFT

    def _silent(self, groups: NDArray[np.void], g: int, time: int) -> Silence:
        groups["open"][g] = 1
        return Silence(g, int(groups["last"][g]), time, float(groups["usual"][g]), 0)

    def _again(self, groups: NDArray[np.void], g: int) -> Silence:
        groups["open"][g] = 0
        last = int(groups["last"][g])
        return Silence(g, 0, last, float(groups["usual"][g]), int(groups["back"][g]) or last)
