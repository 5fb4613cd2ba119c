"""Which template a signature of log lines has, and what the templates of a partition are called.

A signature (`decode.log_mask`) is looked at once, when it is announced. It has the template of that name, or one that
matches it (`templates`), or a new one.
Bounded: `templates` of a group and MOST of a partition, `signatures` of a partition. Lines of more templates are counted
together, as of OTHERS, and it is said whose they are; signatures not seen for longest are let go, and announced anew.
Templates that are idle make room first, of the whole partition, and groups that have none left; looked for once a cell.
"""

import numpy as np
from numpy.typing import NDArray

from anomaly.config.settings import LogSettings
from anomaly.decode.block import Announced
from anomaly.decode.identity import EXAMPLE, Series, fingerprint, unpack
from anomaly.decode.index import Index
from anomaly.decode.log_lines import LEVELS, METRIC, OTHERS, SEVERITY, TEMPLATE
from anomaly.decode.points import Kind
from anomaly.detect.log_rows import LogRows, Name
from anomaly.detect.templates import Templates

IDLE = 8_640  # cells without a line after which a template makes room where there is none
MOST = 20_000
CODE = "code"  # label: where in the program a line is written
OUR_TEXT = METRIC.encode()
NOT_SEEN = np.iinfo(np.int64).max


class Kinds:
    """`exact`: the row of a template by (group, level, name); `cell`, set by whoever counts, is the one of now."""

    def __init__(self, settings: LogSettings, seed: int) -> None:
        self.settings, self.seed, self.rows = settings, seed, LogRows()
        self.cell = self.looked = 0  # looked: the cell in which room was last looked for
        self.exact: dict[tuple[int, int, str], int] = {}
        self.numbers: dict[int, int] = {}  # of groups by hash
        self._names: dict[int, Name] = {}
        self._trees: dict[int, Templates] = {}
        self._index = Index()

    def __len__(self) -> int:
        """Number of templates."""
        return len(self._names)

    def find(self, series: NDArray[np.uint64]) -> NDArray[np.int32]:
        """The place of each signature, MISSING for what is none, shape (n,)."""
        return self._index.find(series, self.rows.signatures["signature"]["key"])

    def announced(self, new: Announced) -> Announced:
        """Learn the signatures among these series; returns the others."""
        ours, known = [], self.find(new.hash) >= 0
        for i in new.holding(OUR_TEXT):
            series = unpack(int(new.hash[i]), new.text[i])
            if series.metric == METRIC and TEMPLATE in dict(series.labels):
                ours.append(i)
                if not known[i]:
                    self._learn(series)
        return new.without(ours)

    def _learn(self, series: Series) -> None:
        labels = dict(series.labels)
        name = Name(labels[TEMPLATE], "", labels.get(EXAMPLE, ""), labels.get(CODE, ""))
        group = self.number(series.group_hash, series.environment, series.group)
        row = self._row(group, level_of(labels.get(SEVERITY, "")), name)
        if self.rows.signatures.used >= self.settings.signatures:
            self._let_go()
        self.enter(series.hash or 1, row, 0)

    def enter(self, key: int, row: int, seen: int) -> None:
        """A signature of a template."""
        table = self.rows.signatures
        at = table.new()
        table["signature"][at] = (key, seen, row)
        self._index.enter(at, table["signature"]["key"])

    def _let_go(self) -> None:
        """Of the signatures, keep the half that was seen last; those that were just announced were."""
        seen = self.rows.signature["seen"]
        order = np.argsort(-np.where(seen == 0, NOT_SEEN, seen), kind="stable")
        self._pack(np.sort(order[: order.size // 2]))

    def _pack(self, kept: NDArray[np.intp]) -> None:
        self.rows.pack_signatures(kept)
        self._index.build(kept.size, self.rows.signatures["signature"]["key"])

    def number(self, hashed: int, environment: str, group: str) -> int:
        """The row of a group, a new one if need be."""
        if hashed not in self.numbers:
            row = self.rows.groups.new()
            self.rows.groups["group"]["key"][row], self.rows.groups["group"]["births"][row] = hashed, np.nan
            self.rows.set_who(row, environment, group)
            self.numbers[hashed], self._trees[row] = row, Templates()
        return self.numbers[hashed]

    def _row(self, group: int, level: int, name: Name) -> int:
        """The template of a signature: one that is known, or a new one, or OTHERS."""
        known = self.exact.get((group, level, name.text))
        if known is not None:
            return known
        tree, named = self._trees[group], LEVELS[level]
        if name.text == OTHERS:
            return self.new(group, level, Name(OTHERS, "", "", ""))
        found = tree.match(named, name.text)
        if found is not None:
            return self._widened(found)
        if self._is_full(tree):
            self._make_room(group)
        if self._is_full(tree):
            table = self.rows.groups
            table["group"]["over"][group] += 1
            table.touched[group] = 1
            others = self.exact.get((group, level, OTHERS))
            return self.new(group, level, Name(OTHERS, "", "", "")) if others is None else others
        words = tree.words(named, name.text)
        known = self.exact.get((group, level, words))  # of many alike the oldest are compared no more, and are called so
        return self.new(group, level, name._replace(text=words, words=words)) if known is None else known

    def _is_full(self, tree: Templates) -> bool:
        return len(tree) >= self.settings.templates or len(self) >= MOST + len(self.numbers)

    def _widened(self, row: int) -> int:
        """A template that matches what was met: its words may be others now."""
        words = " ".join(self._trees[int(self.rows.template["group"][row])].tokens[row])
        if words != self._names[row].words:
            self._call(row, self._names[row]._replace(words=words))
        return row

    def new(self, group: int, level: int, name: Name) -> int:
        """The row of a new template."""
        row = self.rows.templates.new()
        if name.text != OTHERS:
            self._trees[group].put(row, LEVELS[level], name.words)
        one, groups = self.rows.template, self.rows.groups
        one["group"][row], one["level"][row], one["serial"][row] = group, level, self.rows.group["serial"][group]
        self.rows.groups["group"]["serial"][group] += 1
        groups.touched[group] = 1
        self._call(row, name)
        self.exact[group, level, name.text] = row
        one["key"][row] = self._hash(group, level, name.text)
        return row

    def _call(self, row: int, name: Name) -> None:
        self.rows.set_name(row, name)
        self._names[row] = name

    def _hash(self, group: int, level: int, text: str) -> int:
        return fingerprint(self.seed, *self.rows.who(group), *what(level, text)) or 1

    def name(self, row: int) -> Name:
        """What a template is called."""
        return self._names[row]

    def series(self, row: int) -> Series:
        """The series of a template."""
        one = self.rows.template[row]
        group, level = int(one["group"]), int(one["level"])
        who = *self.rows.who(group), *what(level, self._names[row].text)
        return Series(int(one["key"]), int(self.rows.group["key"][group]), *who, Kind.DELTA)

    def _make_room(self, group: int) -> None:
        """Forget what is idle for long, and groups of which nothing is left, but for the one that needs room."""
        if self.looked == self.cell:
            return
        self.looked, rows = self.cell, self.rows
        one = rows.template
        gone = np.flatnonzero((one["key"] != 0) & (one["last"] > 0) & (one["last"] < self.cell - IDLE)).tolist()
        if not gone:
            return
        for row in gone:
            owner, name = int(one["group"][row]), self._names.pop(row)
            if name.text != OTHERS:
                self._trees[owner].drop(row)
            del self.exact[owner, int(one["level"][row]), name.text]
        self._pack(np.flatnonzero(~np.isin(rows.signature["of"], gone)))
        rows.templates.release(np.array(gone, np.int32))
        left = {*rows.template["group"][rows.template["key"] != 0].tolist(), group}
        empty = {number: hashed for hashed, number in self.numbers.items() if number not in left}
        for number, hashed in empty.items():
            del self.numbers[hashed], self._trees[number]
        rows.groups.release(np.array(sorted(empty), np.int32))

    def overflow(self) -> list[tuple[str, str, int]]:
        """(environment, metric and group, kinds of lines past the limit), the worst first."""
        over = self.rows.group["over"]
        found = [(*self.rows.who(g), int(over[g])) for g in np.flatnonzero(over).tolist()]
        return [(environment, f"{METRIC} of {group}", n) for environment, group, n in sorted(found, key=lambda f: -f[2])]

    def settle(self) -> None:
        """Know all rows again; under another seed too, signatures are then announced anew."""
        rows, group = self.rows, self.rows.group
        for g in np.flatnonzero(group["key"]).tolist():
            hashed, self._trees[g] = fingerprint(self.seed, *rows.who(g)), Templates()
            if hashed != group["key"][g]:
                group["key"][g], rows.groups.touched[g] = hashed, 1
            self.numbers[hashed] = g
        one = rows.template
        held = np.flatnonzero(one["key"])
        for row in held[np.argsort(one["serial"][held], kind="stable")].tolist():
            g, level, name = int(one["group"][row]), int(one["level"][row]), rows.name(row)
            if name.text != OTHERS:
                self._trees[g].put(row, LEVELS[level], name.words)
            self._names[row] = name
            self.exact[g, level, name.text] = row
            key = self._hash(g, level, name.text)
            if key != one["key"][row]:
                one["key"][row], rows.templates.touched[row] = key, 1
        self._index.build(rows.signatures.used, rows.signatures["signature"]["key"])

    def forget_signatures(self) -> None:
        """They are of another seed."""
        self._pack(np.zeros(0, np.intp))


def level_of(name: str) -> int:
    """A level by its name."""
    return LEVELS.index(name) if name in LEVELS else len(LEVELS) - 1


def what(level: int, text: str) -> tuple[str, str, tuple[tuple[str, str], ...], tuple[()]]:
    """Metric, unit, labels and instance of a template's series."""
    return METRIC, "1", ((TEMPLATE, text), (SEVERITY, LEVELS[level])), ()
