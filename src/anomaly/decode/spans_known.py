"""Who sends spans, and what operations they have: numbers for the groups and operations that traces speak of.

A group has at most so many operations: what a person writes into the name of a span by mistake (an id, a path) would else
be as many series. Past it further ones are one operation, OTHER, are counted, and the group is named in the log; operations
that nobody has used for IDLE of data time give way. The numbers are a memory and no state, as those of the catalog are.
group, other  int32: the number of a group, and of its operation OTHER
keys          uint64 (operations,), of group and name, in an index (`index`); last int64, ms, when it was used
wire          uint64 (operations,), what stands for it in the key of a series: the same after a restart, as numbers are not
"""

import logging

import msgspec
import numpy as np
from numpy.typing import NDArray

from anomaly.compiled import bare
from anomaly.decode.identity import Identity
from anomaly.decode.index import MISSING, Index, slot_of
from anomaly.decode.points import Kind
from anomaly.decode.records import BadRecord
from anomaly.decode.spans import Spans
from anomaly.decode.wire import mix

log = logging.getLogger(__name__)

OTHER = "other"
IDLE = 3_600_000  # ms
TRIED = 60_000  # ms between two looks for operations that are idle
MOST_SENDERS = 100_000  # whose groups are remembered; a restarted process is a new one
MOST_GROUPS = 100_000
UNREADABLE = -2  # a resource or a name that is no text: its record is refused
PAST = -3  # a group past the limit: not counted
_OTHER = 0xD6E8FEB86659FD93  # any constant that no seeded hash of a name is likely to be


@bare
def find(group, name, time, full, other, slots, keys, last, out, over):  # type: ignore[no-untyped-def]
    """The operation of each span into `out`, MISSING where it is to be described; `over` counts by group what is OTHER."""
    missing = 0
    for i in range(group.size):
        g = group[i]
        if g < 0:
            out[i] = g
            continue
        key = mix(name[i], np.uint64(g + 1)) | np.uint64(1)
        o = slots[slot_of(slots, keys, key)] - 1
        if o < 0 and full[g] != 0:
            o = other[g]
            over[g] += 1
        out[i] = o
        if o < 0:
            missing += 1
        elif time[i] > last[o]:
            last[o] = time[i]
    return missing


class Group(msgspec.Struct, array_like=True):
    """A service, and the attributes that make it this one; `tried` ms when operations were last looked for to give way."""

    environment: str
    name: str
    attributes: dict[str, str]
    other: int
    hash: int
    operations: int = 0
    tried: int = 0


class Memory(msgspec.Struct, array_like=True):
    """All that is known, so that others can go on with its numbers: columns as bytes, little-endian."""

    groups: list[Group]
    names: list[str]
    over: dict[int, int]
    free: list[int]
    keys: bytes
    last: bytes
    wire: bytes
    of: bytes


class Known:
    """Groups and operations by number."""

    def __init__(self, identity: Identity, most: int) -> None:
        self.identity, self.most = identity, most
        self.groups: list[Group] = []
        self.names: list[str] = []  # of operations
        self.over: dict[int, int] = {}  # by group: spans that were counted as OTHER
        self.environment: NDArray[np.int32] = np.zeros(0, np.int32)  # by group
        self.hash: NDArray[np.uint64] = np.zeros(0, np.uint64)  # by group
        self.wire: NDArray[np.uint64] = np.zeros(0, np.uint64)
        self._of: NDArray[np.int32] = np.zeros(0, np.int32)  # groups of the operations
        self._free: list[int] = []
        self._environments: dict[str, int] = {}
        self._numbers: dict[int, int] = {}  # group by its hash
        self._sender, self._group = np.zeros(64, np.uint64), np.zeros(64, np.int32)
        self._senders = Index()
        self._keys: NDArray[np.uint64] = np.zeros(0, np.uint64)
        self._last: NDArray[np.int64] = np.zeros(0, np.int64)
        self._index = Index()
        settings = identity.settings
        self._placing = {*settings.environment, *(name for one in settings.group for name in one)}

    def group_of(self, spans: Spans) -> NDArray[np.int32]:
        """The group of each span; UNREADABLE where its resource is no text, PAST past the limit."""
        at = self._senders.find(spans.sender, self._sender)
        group = np.where(at == MISSING, UNREADABLE, self._group[at])
        for r in np.flatnonzero(at == MISSING).tolist():
            sender = int(spans.sender[r])
            known = self._senders.one(sender, self._sender)
            group[r] = self._placed(r, spans) if known == MISSING else self._group[known]
            if known == MISSING and group[r] != UNREADABLE:
                self._remember(sender, int(group[r]))
        return group[spans.resource]

    def _remember(self, sender: int, g: int) -> None:
        """The group of a sender; those of before are described again once there are too many."""
        n = int(self._senders.count[0])
        if n == MOST_SENDERS:
            self._senders, self._sender, n = Index(), np.zeros(64, np.uint64), 0
            self._group = np.zeros(64, np.int32)
        if n == self._sender.size:
            self._sender, self._group = (np.concatenate([a, np.zeros(n, a.dtype)]) for a in (self._sender, self._group))
        self._sender[n], self._group[n] = sender or 1, g
        self._senders.enter(n, self._sender)

    def _placed(self, r: int, spans: Spans) -> int:
        """The number of the group of a resource."""
        try:
            attributes = spans.told(r)
        except BadRecord:
            return UNREADABLE
        series = self.identity.series("", "", attributes, Kind.GAUGE)
        if series.group_hash not in self._numbers:
            if len(self.groups) >= MOST_GROUPS:
                return PAST
            held = {k: v for k, v in attributes.items() if k in self._placing}
            other = self._room(OTHER, _OTHER, len(self.groups))
            self._add(Group(series.environment, series.group, held, other, series.group_hash))
        return self._numbers[series.group_hash]

    def _add(self, group: Group) -> None:
        """The next number is this group's."""
        self._numbers[group.hash] = len(self.groups)
        number = self._environments.setdefault(group.environment, len(self._environments))
        self.environment = np.append(self.environment, np.int32(number))
        self.hash = np.append(self.hash, np.uint64(group.hash))
        self.groups.append(group)

    def memory(self) -> Memory:
        """What is known."""
        n = len(self.names)
        columns = (column[:n].tobytes() for column in (self._keys, self._last, self.wire, self._of))
        return Memory(self.groups, self.names, self.over, self._free, *columns)

    def remember(self, memory: Memory) -> None:
        """Go on, knowing nothing yet, with what another knew."""
        self.names, self.over, self._free = memory.names, memory.over, memory.free
        self._keys, self.wire = (np.frombuffer(data, np.uint64).copy() for data in (memory.keys, memory.wire))
        self._last, self._of = np.frombuffer(memory.last, np.int64).copy(), np.frombuffer(memory.of, np.int32).copy()
        for group in memory.groups:
            self._add(group)
        self._index.build(len(self.names), self._keys)

    def operation_of(self, spans: Spans, group: NDArray[np.int32]) -> NDArray[np.int32]:
        """The operation of each span; where the group is not known, that."""
        out = np.empty(len(spans), np.int32)
        over = np.zeros(len(self.groups), np.int64)
        other = np.array([g.other for g in self.groups], np.int32)
        while True:
            full = np.array([g.operations >= self.most for g in self.groups], np.uint8)
            over[:] = 0
            slots, keys = self._index.slots, self._keys
            if not find(group, spans.name, spans.time, full, other, slots, keys, self._last, out, over):
                break
            self._describe(spans, group, np.flatnonzero(out == MISSING))
        self._say(over, int(spans.time.max(initial=0)))
        return out

    def _describe(self, spans: Spans, group: NDArray[np.int32], missing: NDArray[np.intp]) -> None:
        """Know the operations of the spans at `missing`, as many as their groups may have, in their order."""
        seen: set[tuple[int, int]] = set()
        for i in missing.tolist():
            g, name = int(group[i]), int(spans.name[i])
            if (g, name) in seen or self.groups[g].operations >= self.most:
                continue
            seen.add((g, name))
            try:
                text = spans.operation(i)
            except BadRecord:
                group[(group == g) & (spans.name == spans.name[i])] = UNREADABLE
                continue
            o = self._room(text, name, g)
            self._keys[o] = _key(name, g)
            self._index.enter(o, self._keys)
            self.groups[g].operations += 1

    def _room(self, text: str, wire: int, g: int) -> int:
        """The number of a new operation."""
        if self._free:
            o = self._free.pop()
            self.names[o] = text
        else:
            o = len(self.names)
            self.names.append(text)
        if o >= self._keys.size:
            self._keys, self._last, self.wire, self._of = (
                np.concatenate([a, np.zeros(max(64, a.size), a.dtype)])
                for a in (self._keys, self._last, self.wire, self._of)
            )
        self.wire[o], self._of[o], self._last[o] = wire, g, 0
        return o

    def _say(self, over: NDArray[np.int64], now: int) -> None:
        """Count what was OTHER, name a group when it begins to have some, and let idle operations give way."""
        for g in np.flatnonzero(over).tolist():
            group = self.groups[g]
            if g not in self.over:
                log.warning("%s has more than %d operations: further ones are counted as one", group.name, self.most)
            self.over[g] = self.over.get(g, 0) + int(over[g])
            if now >= group.tried + TRIED:
                group.tried = now
                self._give_way(g, now)

    def _give_way(self, g: int, now: int) -> None:
        used = len(self.names)
        idle = (self._of[:used] == g) & (self._keys[:used] != 0) & (self._last[:used] < now - IDLE)
        gone = np.flatnonzero(idle)
        if gone.size:
            self._keys[gone] = 0
            self._free += gone.tolist()
            self._index.build(used, self._keys)
            self.groups[g].operations -= int(gone.size)


def _key(name: int, g: int) -> int:
    return int(mix(np.uint64(name), np.uint64(g + 1))) | 1
