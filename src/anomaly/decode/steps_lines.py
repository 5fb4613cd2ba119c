"""Lines of logs as events of traces: what step a line is, and which trace or session it belongs to.

A step is a line's level and the place in the source where it was written, if an attribute (`code.*`) or the line itself says
so (`Cart.java:145`, `shop.Cart#145`); else its level and the first words of the line without its parameters.
A session is a trace of lines that have no trace id but share a key: an attribute, or what a pattern finds in the text.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly.decode.identity import Identity, fingerprint
from anomaly.decode.points import Kind
from anomaly.decode.spans import NANOSECONDS
from anomaly.decode.steps_events import EVENT, LINE, Events, Names, Whose, Words, heard_by, keys_of

FIRST_WORDS = 8
MOST_KINDS = 200_000  # that are remembered
_PLACE = re.compile(r"(?<![\w/])(?:[\w$-]+\.)+[A-Za-z]{1,5}:\d{1,6}\b|(?<![\w/])[\w$]+(?:\.[\w$]+)+#\d{1,6}\b")
FILE_NAMES, LINE_NAMES = ("code.file.path", "code.filepath"), ("code.line.number", "code.lineno")
FUNCTION_NAMES = "code.function.name", "code.function"
_EARLIEST = 1_000_000_000_000 * NANOSECONDS  # before it a clock was never set


class Said(NamedTuple):
    """A kind of line: who wrote it, its level by name, the line without parameters, an example, both without secrets."""

    attributes: Mapping[str, str]
    level: str
    masked: str
    example: str
    code: str = ""


def place_in(attributes: Mapping[str, str]) -> str:
    """The place in the source that attributes of a line name, "" if they do not."""
    file, line, function = (
        next((attributes[n] for n in names if attributes.get(n)), "") for names in (FILE_NAMES, LINE_NAMES, FUNCTION_NAMES)
    )
    if file and line:
        return f"{file.replace(chr(92), '/').rpartition('/')[2]}:{line}"
    space = attributes.get("code.namespace", "")
    return f"{space}.{function}" if space and function else function


def words_of(said: Said) -> Words:
    """The step that a line is."""
    found = _PLACE.search(said.example)
    code = said.code or (found[0] if found else "")
    return Words(f"{said.level.upper()} {code or ' '.join(said.masked.split()[:FIRST_WORDS])}", said.example, code)


class Session:
    """Which session a line is of: `key` names an attribute, or is a pattern with one group."""

    def __init__(self, key: str) -> None:
        self.key = key
        self._pattern = re.compile(key) if "(" in key else None

    def of(self, text: str, attributes: Mapping[str, str]) -> tuple[int, int]:
        """The halves of its trace id; both 0: of none."""
        found = self._pattern.search(text) if self._pattern else None
        value = found[1] if found else attributes.get(self.key, "")
        if not value:
            return 0, 0
        digest = hashlib.blake2b(value.encode(), digest_size=16).digest()
        return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")


@dataclass(slots=True)
class Written:
    """Lines of a block that are of traces, as columns, and how far their source was heard, ms by record.

    ns int64, 0: not given; `kind` of each line is an index into `wire` uint64 (kinds,); `said` describes it, None: cannot.
    """

    trace: NDArray[np.uint64]
    low: NDArray[np.uint64]
    span: NDArray[np.uint64]
    ns: NDArray[np.int64]
    record: NDArray[np.int32]
    kind: NDArray[np.intp]
    wire: NDArray[np.uint64]
    said: Callable[[int], Said | None]


@dataclass(slots=True)
class Kinds:
    """Kinds of lines that were met: wire key -> hashes of group and step, and what these mean."""

    identity: Identity
    known: dict[int, tuple[int, int]] = field(default_factory=dict)
    names: Names = field(default_factory=Names)

    def events(self, written: Written, heard: NDArray[np.int64], sent: NDArray[np.int64]) -> Events:
        """Of these lines; `heard` and `sent` int64 (records,), ms: the lines' times, and their records'."""
        group, what = np.zeros(written.wire.size, np.uint64), np.zeros(written.wire.size, np.uint64)
        for k in np.flatnonzero(np.bincount(written.kind, minlength=written.wire.size)).tolist():
            group[k], what[k] = self._of(int(written.wire[k]), k, written.said)
        at = sent[written.record] * NANOSECONDS
        ns = np.where(written.ns >= _EARLIEST, written.ns, at)
        useful = (what[written.kind] != 0) & (ns >= _EARLIEST)

        def rows(index: NDArray[np.intp]) -> NDArray[Any]:
            made = np.zeros(index.size, EVENT)
            for name in ("trace", "low", "span"):
                made[name] = getattr(written, name)[index]
            made["start"], made["end"] = ns[index], ns[index] // NANOSECONDS
            made["group"], made["what"] = group[written.kind[index]], what[written.kind[index]]
            return made

        def names(index: NDArray[np.intp]) -> Names:
            kinds = np.flatnonzero(np.bincount(written.kind[index]))
            groups, words = set(group[kinds].tolist()), set(what[kinds].tolist())
            return Names({g: self.names.groups[g] for g in groups}, {w: self.names.words[w] for w in words})

        return Events(keys_of(written.trace, written.low, useful), written.record, heard, rows, names, LINE)

    def _of(self, wire: int, k: int, said: Callable[[int], Said | None]) -> tuple[int, int]:
        """Hashes of a kind's group and step; zeros where it cannot be described."""
        if wire not in self.known:
            one = said(k)
            if one is None:
                return 0, 0
            if len(self.known) >= MOST_KINDS:
                self.known, self.names = {}, Names()
            series, words = self.identity.series("", "", dict(one.attributes), Kind.GAUGE), words_of(one)
            placing = {*self.identity.settings.environment, *(n for names in self.identity.settings.group for n in names)}
            held = {name: value for name, value in one.attributes.items() if name in placing}
            step = fingerprint(self.identity.seed, words.text) or 1
            self.names.groups.setdefault(series.group_hash, Whose(series.group, held))
            self.names.words.setdefault(step, words)
            self.known[wire] = series.group_hash, step
        return self.known[wire]


def heard_of(record: NDArray[np.int32], time: NDArray[np.int64], sent: NDArray[np.int64], future: int) -> NDArray[np.int64]:
    """How far a source was heard with each record, ms, by the times of its lines; one dated far ahead tells nothing."""
    late = (sent[record] >= 0) & (time > sent[record] + future)
    return heard_by(record, np.where(late, 0, time), sent.size)
