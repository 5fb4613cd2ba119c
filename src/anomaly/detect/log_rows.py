"""What a partition knows of its log lines, as rows of plain arrays.

group      who logs: `key` the seeded hash of environment and group; `first` the cell in which it first logged, 0: not yet;
           `cells` in which it did, and `births` in how many of them there was a new template, of errors and of others, both
           fading (`novelty`), births NaN until that is known; `ticks` the same cells, all of them; `over` its lines' kinds
           past a limit; `serial` templates that were born. Its text is environment and group.
template   a kind of line (`log_kinds`): `key` the hash of its series; `group` the row of its group, `level` its place in
           LEVELS; `born` and `last` the first cell with lines and the last, 0: none; `total` its lines in closed cells;
           `serial` tells which of its group's is the older. In ticks of its group (`vanished`): `begun` and `tick` when it
           first and last had lines, 0: not yet, in `times` more of them, `longest` between two. Its text is its name, the
           words that it matches now, an example and a place in the program.
rings      float64 (rows, RING): lines of a template by cell, the cell's number modulo RING.
signature  a line without its parameters: `key` the hash of its series, `of` the row of its template, `seen` ms of its
           newest line, 0: none yet.

A `key` is 0 in a row that is free, and `next` leads to the next free one. Signatures have no free rows: they are packed.
"""

from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from anomaly.pool import Pool
from anomaly.table import USED, Table

RING = 16  # cells that may be open at once
GROUP = np.dtype(
    [("key", "u8"), ("first", "i8"), ("serial", "i8"), ("over", "i8"), ("ticks", "i8"), ("cells", "f8"), ("births", "f8", 2),
     ("text_at", "i8"), ("text_len", "i4"), ("next", "i4")], align=True,
)  # fmt: skip
TEMPLATE = np.dtype(
    [("key", "u8"), ("born", "i8"), ("last", "i8"), ("serial", "i8"), ("total", "f8"), ("begun", "i8"), ("tick", "i8"),
     ("text_at", "i8"), ("times", "i4"), ("longest", "i4"),
     ("text_len", "i4"), ("group", "i4"), ("next", "i4"), ("level", "u1")], align=True,
)  # fmt: skip
SIGNATURE = np.dtype([("key", "u8"), ("seen", "i8"), ("of", "i4")], align=True)


class Name(NamedTuple):
    """Of a template: its text when it was born, the words that it matches now, a line of it, and where that is written."""

    text: str
    words: str
    example: str
    code: str


class LogRows:
    """The tables; `text` of rows is MessagePack, so that lines may hold any character."""

    def __init__(self) -> None:
        self.groups = Table("log_groups", {"group": (GROUP, 0)}, [Pool("text", "group", np.uint8)], ("group", "next"))
        self.templates = Table(
            "log_templates", {"template": (TEMPLATE, 0), "rings": (np.float64, RING)},
            [Pool("text", "template", np.uint8)], ("template", "next"),
        )  # fmt: skip
        self.signatures = Table("log_signatures", {"signature": (SIGNATURE, 0)})

    def all(self) -> tuple[Table, ...]:
        """All tables."""
        return self.groups, self.templates, self.signatures

    @property
    def group(self) -> NDArray[np.void]:
        """Columns of the groups, of free rows too, as of the others."""
        return self.groups["group"][: self.groups.used]

    @property
    def template(self) -> NDArray[np.void]:
        """Columns of the templates."""
        return self.templates["template"][: self.templates.used]

    @property
    def rings(self) -> NDArray[np.float64]:
        """Lines of the templates by cell."""
        found: NDArray[np.float64] = self.templates["rings"][: self.templates.used]
        return found

    @property
    def signature(self) -> NDArray[np.void]:
        """Columns of the signatures."""
        return self.signatures["signature"][: self.signatures.used]

    def who(self, group: int) -> tuple[str, str]:
        """Environment and group of a row."""
        found: tuple[str, str] = _to_who(_text(self.groups, group))
        return found

    def set_who(self, group: int, environment: str, name: str) -> None:
        """Say it of a row."""
        _set_text(self.groups, group, msgspec.msgpack.encode((environment, name)))

    def name(self, template: int) -> Name:
        """What a template is called, and matches."""
        return Name(*_to_name(_text(self.templates, template)))

    def set_name(self, template: int, name: Name) -> None:
        """Say it of a row."""
        _set_text(self.templates, template, msgspec.msgpack.encode(tuple(name)))

    def pack_signatures(self, kept: NDArray[np.intp]) -> None:
        """Keep these signatures alone, in rising order."""
        table = self.signatures
        table["signature"][: kept.size] = table["signature"][kept]
        table["signature"][kept.size : table.used] = np.zeros((), SIGNATURE)
        table.touched[: kept.size] = 1
        table.count[USED] = kept.size


def _text(table: Table, row: int) -> bytes:
    pool = table.pools[0]
    one = table[pool.column][row]
    found: bytes = pool.array[one["text_at"] : one["text_at"] + one["text_len"]].tobytes()
    return found


def _set_text(table: Table, row: int, text: bytes) -> None:
    pool = table.pools[0]
    at = table.place(pool, len(text))
    pool.array[at : at + len(text)] = np.frombuffer(text, np.uint8)
    one = table[pool.column]
    one["text_at"][row], one["text_len"][row], table.touched[row] = at, len(text), 1


_to_who = msgspec.msgpack.Decoder(tuple[str, str]).decode
_to_name = msgspec.msgpack.Decoder(tuple[str, str, str, str]).decode
