"""The state of log lines as it was before it was in tables: one MessagePack value, read once after an upgrade."""

from typing import Any

import msgspec
import numpy as np

from anomaly.decode.log_lines import OTHERS
from anomaly.detect.anomaly import Anomaly
from anomaly.detect.log_rows import RING, SIGNATURE, LogRows, Name

_COLUMNS = {"key": ("hash", "u8"), "level": ("level", "u1"), "group": ("group", "i4"), "last": ("last", "i8"),
            "born": ("born", "i8"), "total": ("total", "f8")}  # fmt: skip


class _News(msgspec.Struct):
    cells: float = 0.0
    births: tuple[float, float] = (0.0, 0.0)


class _Group(msgspec.Struct):
    environment: str
    group: str
    hash: int
    first: int
    news: _News = msgspec.field(default_factory=_News)


class _Kept(msgspec.Struct):
    time: int
    closed: int
    sources: list[str]
    groups: list[_Group]
    names: dict[int, tuple[str, str]]
    trees: list[tuple[int, tuple[str, int, str], list[str]]]
    columns: dict[str, bytes]
    signatures: dict[str, bytes]
    over: dict[str, int]
    novelty: list[tuple[int, Anomaly]]
    free: list[int]


def is_one(data: bytes) -> bool:
    """Whether it is of that time: it had no version."""
    return "version" not in msgspec.msgpack.decode(data)


def read(data: bytes, rows: LogRows) -> tuple[int, int, list[str], list[tuple[int, Anomaly]]]:
    """Fill tables that are empty; time, closed cells, sources and new templates by row."""
    kept = _from_kept(data)
    for one in kept.groups:
        at = rows.groups.new()
        births = one.news.births if one.news.cells else (np.nan, np.nan)
        table, over = rows.groups["group"], kept.over.get(one.group, 0)
        table[at] = one.hash, one.first, len(kept.trees), over, 0, one.news.cells, births, 0, 0, 0
        rows.set_who(at, one.environment, one.group)
    _templates(kept, rows)
    key, of, seen = (np.frombuffer(kept.signatures[n], k) for n, k in (("key", "u8"), ("of", "i4"), ("seen", "i8")))
    for _ in range(key.size):
        rows.signatures.new()
    one_ = np.zeros(key.size, SIGNATURE)
    one_["key"], one_["of"], one_["seen"] = key, of, seen
    rows.signatures["signature"][: key.size] = one_
    return kept.time, kept.closed, kept.sources, kept.novelty


def _templates(kept: _Kept, rows: LogRows) -> None:
    """Templates in their rows; rows that were free are so."""
    columns = {name: np.frombuffer(kept.columns[theirs], kind) for name, (theirs, kind) in _COLUMNS.items()}
    rings = np.frombuffer(kept.columns["rings"]).reshape(-1, RING)
    for _ in range(max([*kept.names, *kept.free], default=-1) + 1):
        rows.templates.new()
    words = {row: (serial, " ".join(tokens)) for serial, (row, _, tokens) in enumerate(kept.trees)}
    held = np.array(sorted(kept.names), np.intp)
    one: Any = rows.template
    for name, column in columns.items():
        one[name][held] = column[held]
    rows.rings[held] = rings[held]
    for row in held.tolist():
        text, example = kept.names[row]
        one["serial"][row], matched = words.get(row, (0, ""))
        rows.set_name(row, Name(text, "" if text == OTHERS else matched, example, ""))
    rows.templates.release(np.array(kept.free[::-1], np.int32))


_from_kept = msgspec.msgpack.Decoder(_Kept).decode
