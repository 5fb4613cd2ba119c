"""Tables with a time in the first column, as in the Numenta Anomaly Benchmark: `timestamp,value`, a row per point of time.

A column after the time is a series of its own, named by the header. A column called `value` says nothing of what it is, so
its metric is the stem, the file's name without suffix; the stem is the group as well, so that each file stands for itself.
All numbers are gauges: a table is history that somebody wrote down, not the state of a counter. An empty cell, or one that
holds NaN, is no point. Times are written out (no zone: UTC) or numbers, see `text`.

As an encoding, a record is a line or several, the first of which may be a header (a line that begins with one of HEADERS).
Without one the first column is `value` and the others are `value_2`, `value_3`; the stem is the name of the source. A line
that cannot be read refuses its record; in a file it stops the reading with a message for the person who named the file.
"""

import csv
import re
from collections.abc import Iterator
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from anomaly.decode.catalog import Catalog, Description
from anomaly.decode.csv_scan import LEFT, SCANNED, scan
from anomaly.decode.encodings import Decoded, Parsed, Sample, register
from anomaly.decode.index import MISSING
from anomaly.decode.naming import unit_of
from anomaly.decode.points import Kind, Points
from anomaly.decode.records import BadRecord, Records
from anomaly.decode.text import instant, number, utf8

HEADERS = ("timestamp", "time", "date", "datetime", "ds")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LINE_END = re.compile(r"\r?\n")


class Csv:
    """Decodes blocks of lines; the stem is the name of the source."""

    def decode(self, records: Records, catalog: Catalog) -> Decoded:
        """Decode a block."""
        stem = stem_of(records.source) or "value"
        return Parsed(lambda value: parse(value, stem)).decode(records, catalog)


def parse(value: bytes, stem: str = "value") -> Iterator[Sample]:
    """The points of one record."""
    rows = _rows(utf8(value.removeprefix(_BYTE_ORDER_MARK)))
    names: list[str] | None = None
    for line, row in rows:
        if names is None:
            header = row[0].strip().lower() in HEADERS
            names = row[1:] if header else [f"value_{i}" if i > 1 else "value" for i in range(1, len(row))]
            series = [describe(name, stem) for name in names]
            if header:
                continue
        time, cells = _cells(row, line, len(names))
        yield from (Sample(s, time, v) for s, v in zip(series, cells, strict=True) if v == v)


def read_csv(path: Path | str) -> tuple[list[str], NDArray[np.int64], NDArray[np.float64]]:
    """Metric names (c,), times int64 (n,) in ms and values float64 (n, c) of a file with a header; NaN: no point.

    Raises BadRecord, naming file and line, for what cannot be read.
    """
    data = Path(path).read_bytes().removeprefix(_BYTE_ORDER_MARK)
    try:
        first, _, rest = data.partition(b"\n")
        header = next(_rows(utf8(first)), (1, [""]))[1]
        if header[0].strip().lower() not in HEADERS:
            raise BadRecord("bad_header", f"line 1 begins with {header[0]!r}, expected one of {', '.join(HEADERS)}")
        names = [metric_of(name, stem_of(path)) for name in header[1:]]
        time, value = _read(rest, len(names)) if b'"' in data else _scanned(rest, len(names))
    except BadRecord as error:
        raise BadRecord(error.reason, f"{path}: {error.detail}") from None
    return names, time, value


def _read(data: bytes, columns: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Times and values of the rows below the header, row by row."""
    read = [_cells(row, line + 1, columns) for line, row in _rows(utf8(data))]
    time = np.array([time for time, _ in read], np.int64)
    return time, np.array([cells for _, cells in read], np.float64).reshape(time.size, columns)


def _scanned(data: bytes, columns: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The same, by the scanner; rows that it leaves are read one by one."""
    n = data.count(b"\n") + 1
    begin, past, form = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.uint8)
    time, value = np.zeros(n, np.int64), np.zeros((n, columns))
    scan(np.frombuffer(data, np.uint8), begin, past, form, time, value)
    for i in np.flatnonzero(form == LEFT).tolist():
        for _, row in _rows(utf8(data[begin[i] : past[i]])):
            time[i], value[i] = _cells(row, i + 2, columns)
            form[i] = SCANNED
    held = form == SCANNED
    return time[held], value[held]


def points_of_csv(path: Path | str, catalog: Catalog) -> Points:
    """The points of a file in the order of its rows, its series in the catalog; `record` is the row, from 0."""
    names, time, values = read_csv(path)
    stem = stem_of(path)
    described = [describe(name, stem) for name in names]
    rows = catalog.rows(catalog.hashed([f"{stem}\0{name}".encode() for name in names]), lambda i: described[i])
    record, column = np.nonzero(~np.isnan(values) & (rows != MISSING))
    points = Points.empty(record.size)
    points.series, points.time = catalog.hash[rows[column]], time[record]
    points.value, points.record = values[record, column], record.astype(np.int32)
    return points


def stem_of(path: Path | str) -> str:
    """The name that a file, or a source, gives its series: without folders and the suffix `.csv`."""
    return PurePath(path).name.removesuffix(".csv")


def metric_of(column: str, stem: str) -> str:
    """The metric of a column; a column `value` is named by the stem."""
    name = column.strip()
    return stem if name in ("", "value") else name


def describe(column: str, stem: str) -> Description:
    """The series of a column."""
    metric = metric_of(column, stem)
    return Description(metric, unit_of(metric), {"service.name": stem}, Kind.GAUGE)


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Rows that hold something, each with the number of its last line."""
    reader = csv.reader(_LINE_END.split(text), strict=True)
    try:
        for row in reader:
            if row and (len(row) > 1 or row[0].strip()):
                yield reader.line_num, row
    except csv.Error as error:
        raise BadRecord("bad_line", f"line {reader.line_num}: {error}") from None


def _cells(row: list[str], line: int, columns: int) -> tuple[int, list[float]]:
    """Time and numbers of a row."""
    if len(row) != columns + 1:
        raise BadRecord("bad_line", f"line {line}: {len(row)} cells, expected {columns + 1}")
    try:
        return instant(row[0].strip()), [number(cell.strip()) if cell.strip() else np.nan for cell in row[1:]]
    except BadRecord as error:
        raise BadRecord(error.reason, f"line {line}: {error.detail}") from None


register("csv")(Csv)
