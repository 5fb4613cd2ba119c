"""State moves to other specs, by who a thing is: what an operator changes in a spec costs only what it concerns.

All series are announced anew, from their stored texts, to a register with the specs of now; then each thing takes over what
its namesake knew: series, groups and families by key, aggregates by key where they have the same lanes, judged rows by the
key of their subject (`Subject.key`) whatever their row and spec. A series may come under another name (`rename`): so does a
label that a semantic convention renames keep what was learned, and so does another hash seed. Then sums under way begin
anew, because their keys are others; their models do not. Some groups alone can be moved, to a register that knows others
(`handover`).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly.config.settings import IdentitySettings
from anomaly.decode.block import Announced
from anomaly.decode.identity import Series, fingerprint, newest, pack
from anomaly.decode.index import MISSING
from anomaly.decode.points import Kind
from anomaly.detect.judge import Judge
from anomaly.detect.register import Register
from anomaly.detect.rows import CELLS, OF_GROUP, Tables
from anomaly.detect.subject import Subject

Rename = Callable[[Series], Series]
Rows = NDArray[np.intp]

OF_SERIES = ("last", "start", "value", "interval", "intervals", "primed", "stale", "fresh", "alive", "delta", "writer")
OF_AGGREGATE = ("step", "first", "newest", "lateness", "pending", "delta")
OF_MEMBER = ("gained", "summed", "counted", "counts", "sums")


class Side(NamedTuple):
    """A register and the models of its judged rows."""

    register: Register
    judge: Judge


def as_named(settings: IdentitySettings) -> Rename:
    """The same series by the label names and the hash seed of now."""
    seed, instance = settings.seed, frozenset(settings.instance)

    def rename(s: Series) -> Series:
        held = dict(s.labels + s.instance)
        pairs = sorted((name, held[given]) for name, given in newest(held, settings.aliases).items())
        labels = tuple(pair for pair in pairs if pair[0] not in instance)
        copy = tuple(pair for pair in pairs if pair[0] in instance)
        hashed = fingerprint(seed, s.environment, s.group, s.metric, s.unit, labels, copy)
        at = fingerprint(seed, s.environment, s.group)
        return replace(s, hash=hashed, group_hash=at, labels=labels, instance=copy)

    return rename


def move(old: Side, new: Side, rename: Rename | None = None, only: Rows | None = None, source: int = 0) -> dict[int, int]:
    """Announce the series of a register to another, which knows none of them, and hand over what is known.

    `only` the groups in these rows, else all; `source` is their number in the new one. Old judged row -> new one.
    """
    series = _announce(old.register, new.register, rename, only, source)
    _series(old.register.tables, new.register, *series)
    old.register.sites.hand(new.register.sites, *series)
    _aggregates(old.register, new.register, *series)
    judged = _judged(old, new, *series, rename)
    _models(old.judge, new.judge, judged)
    old.register.regressions.hand(new.register.regressions, judged)
    old.register.jobs.hand(new.register.jobs, judged)
    return judged


def _announce(old: Register, new: Register, rename: Rename | None, only: Rows | None, source: int) -> tuple[Rows, Rows]:
    """Announce series in the order of their rows; the rows that they had, and have now."""
    used = old.tables.rows["row"][: old.tables.rows.used]
    rows = np.flatnonzero((used["key"] != 0) & (True if only is None else np.isin(used["group"], only)))
    hashes, texts = old.tables.rows["row"]["key"][rows], [old.subjects.text(r) for r in rows.tolist()]
    if rename:
        renamed = [rename(old.subjects.series(r)) for r in rows.tolist()]
        hashes, texts = np.array([s.hash for s in renamed], np.uint64), [pack(s) for s in renamed]
    lateness = old.tables.aggregates["aggregate"]["lateness"][: old.tables.aggregates.used]
    fresh = np.zeros(rows.size, np.uint8)
    new.announce(Announced(hashes, texts), source, int(lateness.max(initial=0)), fresh)
    found = new.find(hashes)
    return rows[found != MISSING], found[found != MISSING].astype(np.intp)


def _copy(fields: tuple[str, ...], old: NDArray[np.void], at: Rows, new: NDArray[np.void], to: Rows) -> None:
    for field in fields:
        new[field][to] = old[field][at]


def _series(old: Tables, new: Register, rows: Rows, found: Rows) -> None:
    """What points are converted against, and who is watched."""
    t = new.tables
    _copy(OF_SERIES, old.rows["row"], rows, t.rows["row"], found)
    _copy(OF_GROUP, old.groups["group"], old.rows["row"]["group"][rows], t.groups["group"], t.rows["row"]["group"][found])
    both = (old.rows["row"]["family"][rows] >= 0) & (t.rows["row"]["family"][found] >= 0)
    families = old.rows["row"]["family"][rows[both]], t.rows["row"]["family"][found[both]]
    _copy(("last", "before"), old.families["family"], families[0], t.families["family"], families[1])
    sided = old.rows["row"]["histogram"][rows] >= 0
    sides = old.histograms["histogram"][old.rows["row"]["histogram"][rows[sided]]]
    new.reserve(found[sided].astype(np.int32), sides["buckets_len"])
    for row, side in zip(found[sided].tolist(), sides, strict=True):
        one = t.histograms["histogram"][t.rows["row"]["histogram"][row]]
        one["count"], one["used"] = side["count"], side["used"]
        held = old.buckets.array[side["buckets_at"] : side["buckets_at"] + side["used"]]
        t.buckets.array[one["buckets_at"] : one["buckets_at"] + side["used"]] = held


def _aggregates(old: Register, new: Register, rows: Rows, found: Rows) -> None:
    """Open cells, and what each member said last, of aggregates that are what they were."""
    theirs, ours = old.tables.aggregates["aggregate"], new.tables.aggregates["aggregate"]
    used = _fed(old.tables, rows)
    to = new.index.aggregates.find(theirs["key"][used], ours["key"])
    now = np.full(theirs.size, -1, np.int64)
    for a, b in zip(used.tolist(), to.tolist(), strict=True):
        if b != MISSING and _same_lanes(old, new, a, b):
            now[a] = b
            for field in OF_AGGREGATE:
                ours[field][b] = theirs[field][a]
            size, at, begin = CELLS * int(ours["width"][b]), int(theirs["lanes_at"][a]), int(ours["lanes_at"][b])
            new.tables.lanes.array[begin : begin + size] = old.tables.lanes.array[at : at + size]
    before, after = _memberships(old.tables, rows), _memberships(new.tables, found)
    member = old.tables.members["member"]
    same = now[member["agg"][before[1]]] >= 0
    whose, at = before[0][same], before[1][same]
    keys = _part(whose, now[member["agg"][at]], member["role"][at])
    joined = new.tables.members["member"]
    _, i, j = np.intersect1d(keys, _part(after[0], joined["agg"][after[1]], joined["role"][after[1]]), return_indices=True)
    _copy(OF_MEMBER, member, at[i], joined, after[1][j])


def _fed(t: Tables, rows: Rows) -> Rows:
    """The aggregates of which some of these rows are members."""
    return np.unique(t.members["member"]["agg"][_memberships(t, rows)[1]]).astype(np.intp)


def _memberships(t: Tables, rows: Rows) -> tuple[Rows, Rows]:
    """All memberships of these rows: the place of the row among them, and the row of the member."""
    whose, at = np.arange(rows.size), t.rows["row"]["members"][rows].astype(np.intp)
    found = [(whose[:0], at[:0])]
    while (on := at >= 0).any():
        whose, at = whose[on], at[on]
        found.append((whose, at))
        at = t.members["member"]["next_of_row"][at].astype(np.intp)
    return np.concatenate([w for w, _ in found]), np.concatenate([m for _, m in found])


def _part(whose: Rows, aggregate: NDArray[np.integer[Any]], role: NDArray[np.uint8]) -> NDArray[np.int64]:
    """What tells the part of a row in an aggregate from its others, as one number."""
    return (whose.astype(np.int64) << 34) | (aggregate.astype(np.int64) << 2) | role


def _same_lanes(old: Register, new: Register, a: int, b: int) -> bool:
    """Whether an aggregate has the same lanes for the same buckets."""

    def lanes(t: Tables, row: int) -> tuple[int, bytes]:
        one = t.aggregates["aggregate"][row]
        return int(one["width"]), t.bounds.array[one["bounds_at"] : one["bounds_at"] + one["bounds_len"]].tobytes()

    return lanes(old.tables, a) == lanes(new.tables, b)


def _judged(old: Side, new: Side, rows: Rows, found: Rows, rename: Rename | None) -> dict[int, int]:
    """Old judged row -> the new one of the same subject."""
    before, now = old.register.tables.rows["row"]["judged"][rows], new.register.tables.rows["row"]["judged"][found]
    both = (before >= 0) & (now >= 0)
    pairs = dict(zip(before[both].tolist(), now[both].tolist(), strict=True))
    named = {new.register.subjects[r].key: r for r in _whole(new.register, found)}
    for r in _whole(old.register, rows):
        to = named.get(_key(old.register.subjects[r], rename))
        if to is not None:
            pairs[r] = to
    return pairs


def _key(one: Subject, rename: Rename | None) -> tuple[object, ...]:
    """Who a subject of before is now."""
    if rename is None:
        return one.key
    who = one.environment, one.group, one.metric, one.unit, one.labels, one.instance or ()
    s = rename(Series(0, 0, *who, Kind.GAUGE))
    return replace(one, labels=s.labels, instance=None if one.instance is None else s.instance).key


def _whole(register: Register, rows: Rows) -> list[int]:
    """Judged rows of the aggregates that these rows feed."""
    judged = register.tables.aggregates["judged"][_fed(register.tables, rows)]
    return sorted(judged[judged >= 0].tolist())


def _models(old: Judge, new: Judge, judged: dict[int, int]) -> None:
    """Hand over models, episodes and evidence."""
    at, to = np.array(list(judged), np.intp), np.array(list(judged.values()), np.intp)
    if not at.size:
        return
    for theirs, ours in ((old.bank, new.bank), (old.recent, new.recent), (old.episodes, new.episodes)):
        ours.put(to, theirs.take(at))
    slots = old.table["slot"][at], new.table["slot"][to]
    both = (slots[0] >= 0) & (slots[1] >= 0)
    if both.any():
        new.ratios.put(slots[1][both], old.ratios.take(slots[0][both]))
    for row, there in judged.items() if old.rivers.held else ():
        old.rivers.hand(new.rivers, row, there, (int(old.table["spec"][row]), int(new.table["spec"][there])))
    new.touched[to] = 1
