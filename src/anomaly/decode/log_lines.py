"""Log lines as points: how many of each kind came, as series of the metric `log.records`, one for each kind and level.

A scanner or a parser counts the lines of each record by kind and second (`Counted`); here they get their series. A kind is
known by its signature (`log_mask`); its text is looked at once, when it is new: secrets are taken out (`secrets`), and what
is left becomes the labels `log.template` (without its parameters), `log.example` and `severity`. Up to a limit each kind is
counted by itself; those past it together, as of the template OTHERS. A line without a time has its record's.
"""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from anomaly.config.settings import Limits, LogSettings
from anomaly.decode.catalog import Catalog, Description
from anomaly.decode.encodings import Decoded
from anomaly.decode.identity import EXAMPLE
from anomaly.decode.index import MISSING
from anomaly.decode.log_mask import masked, scratch, signatures
from anomaly.decode.otlp_logs_scan import DEBUG, ERROR, FATAL, INFO, TRACE, UNSAID, WARN
from anomaly.decode.points import Kind, Points
from anomaly.decode.records import PADDING, DeadLetter, Records
from anomaly.decode.secrets import Secrets
from anomaly.decode.steps_events import Events
from anomaly.decode.steps_lines import Kinds, Said, Session, Written, heard_of
from anomaly.decode.wire import hash_bytes, mix

log = logging.getLogger(__name__)

METRIC, TEMPLATE, SEVERITY = "log.records", "log.template", "severity"
OTHERS = "(lines of more kinds than are told apart)"
LEVELS = ("trace", "debug", "info", "warn", "error", "fatal", "unset")
TEXT = 300  # characters of a template and of an example that are kept
READ = 2_000  # characters of a line that are searched for secrets
HEAD = 80  # and those among which a level may stand

Describe = Callable[[int], Description | None]

_NAMES = {
    TRACE: "TRACE|FINEST|FINER", DEBUG: "DEBUG|FINE|VERBOSE", INFO: "INFO|INFORMATION|NOTICE", WARN: "WARN|WARNING",
    ERROR: "ERROR|ERR|SEVERE", FATAL: "FATAL|CRITICAL|CRIT|PANIC|ALERT|EMERG|EMERGENCY",
}  # fmt: skip
BY_NAME = {name: level for level, names in _NAMES.items() for name in names.split("|")}
_WRITTEN = re.compile(rf"\b({'|'.join(BY_NAME)})\b|(?:\blevel=\"?|\[)({'|'.join(BY_NAME).lower()})\b")


class Line(NamedTuple):
    """A line as a parser gives it: `attributes` of who wrote it, `time` in ms, 0: not given; level UNSAID: see the text.

    Trace and span as `Spans` has them, 0: none.
    """

    attributes: Mapping[str, str]
    level: int
    text: str
    time: int
    trace: tuple[int, int] = (0, 0)
    span: int = 0
    ns: int = 0
    code: str = ""  # the place in the source


@dataclass(slots=True)
class Counted:
    """Lines of a block by kind, as columns: wire key, key of what has no room, ms of the last line, lines, record."""

    wire: NDArray[np.uint64]
    rest: NDArray[np.uint64]
    time: NDArray[np.int64]
    lines: NDArray[np.float64]
    record: NDArray[np.int32]

    def points(self, records: Records, catalog: Catalog, rows: NDArray[np.int32]) -> Points:
        """As points of these rows of the catalog."""
        known = rows != MISSING
        points = Points.empty(int(known.sum()))
        points.series, points.kind, points.writer = catalog.named(rows[known])
        points.record, points.value = self.record[known], self.lines[known]
        points.time = self.time[known]
        points.time = np.where(points.time > 0, points.time, records.time[points.record])
        return points


class Lines:
    """What encodings of log lines share: at most `limit` kinds have series of their own at a time."""

    def __init__(self) -> None:
        self.configure(LogSettings())
        self.session: Session | None = None
        self.future = int(Limits().future * 1000)  # ms
        self._held: set[int] = set()
        self._looked = 0
        self._kinds: Kinds | None = None

    def configure(self, settings: LogSettings) -> None:
        """Go by these settings."""
        self.limit, self.secrets = settings.signatures, Secrets(settings.secrets)

    def decode(self, records: Records, catalog: Catalog) -> Decoded:
        """As `Encoding.decode`."""
        raise NotImplementedError

    def series(self, counted: Counted, catalog: Catalog, describe: Describe) -> NDArray[np.int32]:
        """Rows of the catalog; `describe(i)` as for `Catalog.rows`. MISSING: cannot be described, or past its limit."""
        if len(self._held) >= self.limit:
            self._forget(catalog, int(counted.time.max(initial=0)))
        full, unreadable = set[int](), set[int]()

        def first_sight(i: int) -> Description | None:
            key = int(counted.wire[i])
            if len(self._held) >= self.limit:
                full.add(key)
                return None
            described = describe(i)
            (unreadable if described is None else self._held).add(key)
            return described

        def too_many(i: int) -> Description | None:
            described = describe(int(past[i]))
            if described is None:
                return None
            said = {TEMPLATE: OTHERS, EXAMPLE: ""}
            log.warning("more than %d kinds of log lines: new ones are counted together, per service", self.limit)
            return described._replace(attributes=described.attributes | said)

        rows = catalog.rows(counted.wire, first_sight)
        if full:
            past = np.flatnonzero(np.isin(counted.wire, np.fromiter(full, np.uint64)) & (rows == MISSING))
            rows[past] = catalog.rows(counted.rest[past], too_many)
        return rows

    def _forget(self, catalog: Catalog, now: int) -> None:
        """Let go of kinds that were not seen for long; looked for now and then."""
        if now >= self._looked + catalog.LOOK_EVERY:
            self._looked = now
            held = np.fromiter(self._held, np.uint64, len(self._held))
            self._held -= set(catalog.forget_idle(held, now).tolist())

    def events(self, written: Written, counted: Counted, records: Records, catalog: Catalog) -> Events:
        """Lines of traces; by the times of all lines one knows how far their source was heard."""
        if self._kinds is None:
            self._kinds = Kinds(catalog.identity)
        return self._kinds.events(written, heard_of(counted.record, counted.time, records.time, self.future), records.time)

    def said(self, attributes: Mapping[str, str], level: int, text: str, code: str) -> Said:
        """A kind of line as steps want it."""
        labels = self.described(attributes, level, text).attributes
        return Said(attributes, labels[SEVERITY], labels[TEMPLATE], labels[EXAMPLE], code)

    def described(self, attributes: Mapping[str, str], level: int, text: str) -> Description:
        """The series of a line; of its text nothing is kept but what is said here."""
        shown = self.secrets.hide(text[:READ]).strip()
        kind = masked(shown.encode(errors="replace")).decode(errors="replace")[:TEXT]
        said = {TEMPLATE: kind, EXAMPLE: shown[:TEXT], SEVERITY: LEVELS[level_in(text) if level == UNSAID else level]}
        return Description(METRIC, "1", {**attributes, **said}, Kind.DELTA)

    def of_lines(
        self, found: Sequence[tuple[int, Line]], dead: list[DeadLetter], records: Records, catalog: Catalog
    ) -> Decoded:
        """Lines of a parser, each with its record's index."""
        counted = counted_lines(found, catalog.identity.seed)

        def describe(i: int) -> Description:
            line = found[int(counted.first[i])][1]
            return self.described(line.attributes, line.level, line.text)

        rows = self.series(counted, catalog, describe)
        lost = rows == MISSING
        events = self._traced(found, counted, records, catalog)
        return Decoded(counted.points(records, catalog, rows), dead, int(counted.lines[lost].sum()), [events])

    def _traced(
        self, found: Sequence[tuple[int, Line]], counted: "CountedLines", records: Records, catalog: Catalog
    ) -> Events:
        """Those that are of traces."""
        at = [j for j, (_, line) in enumerate(found) if line.trace != (0, 0)]
        some = [found[j] for j in at]
        record = np.fromiter((i for i, _ in some), np.int32, len(at))
        wide = np.array([(*line.trace, line.span) for _, line in some], np.uint64).reshape(-1, 3).T
        ns = np.fromiter((line.ns for _, line in some), np.int64, len(at))

        def said(k: int) -> Said:
            line = found[int(counted.first[k])][1]
            return self.said(line.attributes, line.level, line.text, line.code)

        kind = counted.of[np.array(at, np.intp)]
        written = Written(wide[0], wide[1], wide[2], ns, record, kind, counted.wire, said)
        return self.events(written, counted, records, catalog)


@dataclass(slots=True)
class CountedLines(Counted):
    """The same of parsed lines; `first` is the index of the first line of each kind, `of` the kind of each line."""

    first: NDArray[np.intp]
    of: NDArray[np.intp]


def counted_lines(found: Sequence[tuple[int, Line]], seed: int) -> CountedLines:
    """Lines of a parser by record, kind and second."""
    n = len(found)
    texts = [line.text.encode(errors="replace") for _, line in found]
    around = dict[int, int]()
    who = np.fromiter((_who(line.attributes, seed, around) for _, line in found), np.uint64, n)
    level = np.fromiter((line.level for _, line in found), np.uint64, n)
    record = np.fromiter((i for i, _ in found), np.int32, n)
    time = np.fromiter((line.time for _, line in found), np.int64, n)
    wire, rest = keys(who, level, texts, seed)
    of = np.empty(n, [("record", "i4"), ("wire", "u8"), ("second", "i8")])
    of["record"], of["wire"], of["second"] = record, wire, time // 1000
    _, first, inverse = np.unique(of, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty(order.size, np.intp)
    place[order] = np.arange(order.size)
    kind = place[inverse.reshape(-1)]
    first = first[order]
    latest = np.zeros(first.size, np.int64)
    np.maximum.at(latest, kind, time)
    lines = np.bincount(kind, minlength=first.size).astype(np.float64)
    return CountedLines(wire[first], rest[first], latest, lines, record[first], first, kind)


def keys(
    who: NDArray[np.uint64], level: NDArray[np.uint64], texts: Sequence[bytes], seed: int
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Wire keys of lines, and of what has no room."""
    buffer = np.frombuffer(b"".join(texts) + bytes(PADDING), np.uint8)
    size = np.fromiter(map(len, texts), np.int64, len(texts))
    end, found = np.cumsum(size), np.empty(len(texts), np.uint64)
    signatures(buffer, end - size, end, np.uint64(seed), scratch(), found)
    rest = np.fromiter((mix(w, v) for w, v in zip(who, level, strict=True)), np.uint64, who.size)
    wire = np.fromiter((mix(r, s) for r, s in zip(rest, found, strict=True)), np.uint64, who.size)
    return wire | np.uint64(1), rest | np.uint64(1)


def _who(attributes: Mapping[str, str], seed: int, known: dict[int, int]) -> int:
    """A hash of who wrote a line; a mapping that several lines share is looked at once."""
    if id(attributes) not in known:
        text = orjson.dumps(attributes, option=orjson.OPT_SORT_KEYS)
        known[id(attributes)] = int(hash_bytes(np.frombuffer(text + bytes(8), np.uint8), 0, len(text), np.uint64(seed)))
    return known[id(attributes)]


def level_in(text: str) -> int:
    """The level that a line names near its beginning."""
    found = _WRITTEN.search(text, 0, HEAD)
    return BY_NAME[(found[1] or found[2]).upper()] if found else UNSAID


def level_named(name: str) -> int:
    """A level by its name, or by the number that some loggers write: pino's and bunyan's tens, syslog's digit."""
    if name.isdecimal() and len(name) < 4:
        number = int(name)
        if number >= 10:
            return min(number // 10 - 1, FATAL)
        return FATAL if number < 3 else (ERROR, WARN, INFO, INFO, DEBUG, UNSAID, UNSAID)[number - 3]
    return BY_NAME.get(name.upper(), UNSAID)
