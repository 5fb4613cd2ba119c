"""Silences and plans as detect follows them: which judged rows are judged and not learned, and when.

A window is a function of a point's own time: its begin is in it, and what speaks for a time before its end. So neither the
moment at which a command came nor where a block was cut changes what is learned. A judged row has the number of a set of
windows, those whose matchers fit it (`judge.JUDGED`, `window`): 0 was not looked at yet, 1 has none. Rows are looked at when
a window comes or goes, and when they are new; by their group first, because most groups are not meant.

What matchers are held against are the labels of the row's series, and environment, group, metric, quantity and signal; a sum
over instances has no instance labels. To look at a group that may be meant takes some microseconds a row.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from anomaly.command.command import Command
from anomaly.command.commands import Commands, Held
from anomaly.detect.judge import Judge, Planned
from anomaly.detect.register import Register
from anomaly.detect.rows import Tables
from anomaly.state import refuse_newer

NONE = 1  # the set without windows
OF_GROUP = ("environment", "group")
VERSION = 1


class Kept(Struct, frozen=True):
    """The windows of a detector, as they are kept: `commands` of a version of their own."""

    commands: bytes
    sets: list[tuple[str, ...]]
    version: int = VERSION


_to_bytes, _from_bytes = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(Kept).decode


class Windows:
    """The windows that a detector knows, and the sets of them that its rows have."""

    def __init__(self) -> None:
        self._commands = Commands()
        self._sets: list[tuple[str, ...]] = [(), ()]

    def __len__(self) -> int:
        return len(self._commands)

    def take(self, command: Command, register: Register, judge: Judge) -> None:
        """Follow a command from now on, as far as it is about learning."""
        before = self._held()
        self._commands.take(command)
        if self._held() != before:
            self.look(register, judge, anew=True)

    def forget(self, time: int, register: Register, judge: Judge) -> None:
        """Windows that are long over at this event time, ms, need not be known."""
        if len(self):
            before = self._held()
            self._commands.turned(time)
            if self._held() != before:
                self.look(register, judge, anew=True)

    def look(self, register: Register, judge: Judge, anew: bool = False) -> None:
        """Give rows their sets: all of them, or those that are new."""
        windows = self._meant()
        if anew:
            self._sets = [(), ()]
            changed = np.flatnonzero(judge.table["window"])
            judge.table["window"][changed], judge.touched[changed] = 0, 1
        if windows:
            self._look(windows, register, judge)
        judge.planned = self._planned(windows)

    def dump(self) -> bytes:
        """As they are kept; nothing where there never were any."""
        commands = self._commands.dump()
        return _to_bytes(Kept(commands, self._sets)) if commands else b""

    def load(self, data: bytes, judge: Judge) -> None:
        """Be those who dumped this; the rows have their sets."""
        if data:
            refuse_newer(data, VERSION, "windows")
            kept = _from_bytes(data)
            self._commands.load(kept.commands)
            self._sets = kept.sets
        judge.planned = self._planned(self._meant())

    def _meant(self) -> list[Held]:
        return [held for held in self._commands.windows() if held.stops_learning]

    def _held(self) -> list[Command]:
        return [held.command for held in self._meant()]

    def _look(self, windows: Sequence[Held], register: Register, judge: Judge) -> None:
        rows, groups = judged_rows(register.tables)
        new = judge.table["window"][rows] == 0
        rows, groups = rows[new], groups[new]
        order = np.argsort(groups, kind="stable")
        rows, groups = rows[order], groups[order]
        judge.table["window"][rows], judge.touched[rows] = NONE, 1
        for some in np.split(rows, np.flatnonzero(np.diff(groups)) + 1) if rows.size else ():
            self._look_at_group(windows, some, register, judge)

    def _look_at_group(self, windows: Sequence[Held], rows: NDArray[np.int32], register: Register, judge: Judge) -> None:
        """Give the rows of one group their sets."""
        first = register.subjects[int(rows[0])]
        who = {"environment": first.environment, "group": first.group}
        possible = [held for held in windows if all(m.fits(who) for m in held.about(OF_GROUP))]
        for row in rows.tolist() if possible else ():
            s = register.subjects[row]
            names = {"metric": s.metric, "quantity": s.quantity, "signal": judge.specs[s.spec].signal.value}
            labels = dict(s.labels) | dict(s.instance or ()) | names | who
            judge.table["window"][row] = self._number(tuple(held.command.id for held in possible if held.fits(labels)))

    def _number(self, names: tuple[str, ...]) -> int:
        """Of the set of these windows."""
        if names not in self._sets:
            self._sets.append(names)
        return self._sets.index(names, NONE) if names else NONE

    def _planned(self, windows: Sequence[Held]) -> Planned:
        """The sets for the kernel."""
        by_id = {held.command.id: held for held in windows}
        sets = [[by_id[name] for name in names if name in by_id] for names in self._sets]
        edges = np.cumsum([0, *map(len, sets)]).astype(np.int64)
        every = [held for some in sets for held in some]
        begin, end = (np.array([getattr(held, name) for held in every], np.int64) for name in ("begin", "end"))
        return Planned(edges, begin, end, np.array([held.factor for held in every], np.float64))


def judged_rows(tables: Tables) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """All judged rows that are in use, and the row of the group of each."""
    own = tables.rows["row"][: tables.rows.used]
    own = own[(own["key"] != 0) & (own["judged"] >= 0)]
    used = tables.aggregates.used
    whole, judged = tables.aggregates["aggregate"][:used], tables.aggregates["judged"][:used]
    at, which = np.nonzero((judged >= 0) & (whole["key"] != 0)[:, None])
    rows = np.concatenate([own["judged"], judged[at, which]])
    return rows, np.concatenate([own["group"], whole["group"][at]])
