"""Tables, against the standard library's csv, float() and fromisoformat()."""

import csv as standard
import io
import math
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly.config.settings import IdentitySettings
from anomaly.decode.catalog import Catalog
from anomaly.decode.csv import parse, points_of_csv, read_csv
from anomaly.decode.encodings import ENCODINGS, Decoded
from anomaly.decode.identity import Identity
from anomaly.decode.points import Kind
from anomaly.decode.records import BadRecord, Records

MS = 1_396_310_400_000  # 2014-04-01


def catalog() -> Catalog:
    return Catalog(Identity(IdentitySettings()))


def decode(*values: bytes | None, source: str = "speed.csv") -> Decoded:
    return ENCODINGS["csv"]().decode(Records.of(list(values), source), catalog())


def written(folder: Path, text: str, name: str = "speed.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def test_a_file_is_one_group_with_a_series_a_column(tmp_path: Path):
    known = catalog()
    path = written(tmp_path, "timestamp,value,used_percent\n2014-04-01 00:00:00,18.0,5\n2014-04-01 00:05:00,19.5,6\n")
    points = points_of_csv(path, known)
    assert [(s.metric, s.unit, s.group, s.kind) for s in known.series] == [
        ("speed", "", "speed", Kind.GAUGE),
        ("used_percent", "%", "speed", Kind.GAUGE),
    ]
    assert points.time.tolist() == [MS, MS, MS + 300_000, MS + 300_000]
    assert points.value.tolist() == [18.0, 5.0, 19.5, 6.0]
    assert points.series.tolist() == [s.hash for s in known.series] * 2
    assert points.record.tolist() == [0, 0, 1, 1]


def test_an_empty_cell_and_a_cell_without_a_number_are_no_points(tmp_path: Path):
    path = written(tmp_path, "timestamp,a,b\n2014-04-01 00:00:00,,2\n2014-04-01 00:05:00,NaN,\n2014-04-01 00:10:00,3,4\n")
    _, _, values = read_csv(path)
    np.testing.assert_array_equal(values, [[np.nan, 2], [np.nan, np.nan], [3, 4]])
    assert points_of_csv(path, catalog()).value.tolist() == [2.0, 3.0, 4.0]


CELLS = (
    st.floats(allow_nan=False).map(repr)
    | st.integers(-(10**20), 10**20).map(str)
    | st.sampled_from(["", " 1.5 ", "+2", "1e3"])
)
TIMES = st.datetimes(datetime(1, 1, 2), datetime(9998, 1, 1))
FORMS = st.sampled_from(["{0:%H:%M:%S}", "{0:%H:%M:%S.%f}", "{0:%H:%M:%S}Z", "{0:%H:%M:%S}+02:00"])


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(TIMES, FORMS, st.sampled_from(" T"), st.lists(CELLS, min_size=2, max_size=2)), max_size=6),
    st.sampled_from(["\n", "\r\n", "\n\n", "\n  \n"]),
    st.sampled_from([standard.QUOTE_MINIMAL, standard.QUOTE_ALL]),
    st.booleans(),
)
def test_a_file_is_read_as_the_standard_library_reads_it(
    tmp_path_factory: pytest.TempPathFactory,
    drawn: list[tuple[datetime, str, str, list[str]]],
    line_end: str,
    quoting: Literal[0, 1],
    ends: bool,
):
    rows = [[f"{at.year:04}-{at:%m-%d}{between}{form.format(at)}", *cells] for at, form, between, cells in drawn]
    text = io.StringIO()
    standard.writer(text, lineterminator=line_end, quoting=quoting).writerows([["timestamp", "a", "b"], *rows])
    path = written(tmp_path_factory.mktemp("csv"), text.getvalue() if ends else text.getvalue().rstrip("\r\n "))
    names, time, values = read_csv(path)
    assert names == ["a", "b"]
    moments = [datetime.fromisoformat(row[0]) for row in rows]
    since = [(m if m.tzinfo else m.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC) for m in moments]
    assert time.tolist() == [s // timedelta(milliseconds=1) for s in since]
    expected = [[float(cell or "nan") for cell in row[1:]] for row in rows]
    np.testing.assert_array_equal(values, np.array(expected).reshape(len(rows), 2))


def test_a_record_reads_as_the_file_would(tmp_path: Path):
    text = "timestamp,value,b\n2014-04-01 00:00:00,18.0,5\n2014-04-01 00:05:00,,6\n1396310700,1e3,7\n"
    known, direct = catalog(), catalog()
    decoded = ENCODINGS["csv"]().decode(Records.of([text.encode()], "speed.csv"), known)
    points = points_of_csv(written(tmp_path, text), direct)
    assert list(known.series) == list(direct.series)
    for column in ("series", "time", "value", "kind"):
        np.testing.assert_array_equal(getattr(decoded.points, column), getattr(points, column))


def test_a_line_alone_is_a_point_of_the_series_named_by_its_source():
    known = catalog()
    lines = [b"timestamp,value", b"2014-04-01 00:00:00,18.0", b"2014-04-01 00:05:00,19.0\n"]
    decoded = ENCODINGS["csv"]().decode(Records.of(lines, "speed.csv"), known)
    assert (decoded.points.value.tolist(), decoded.points.time.tolist()) == ([18.0, 19.0], [MS, MS + 300_000])
    assert [(s.metric, s.group) for s in known.series] == [("speed", "speed")]


def test_columns_without_a_header_are_numbered():
    assert [s.series.metric for s in parse(b"2014-04-01 00:00:00,1,2,3", "x")] == ["x", "value_2", "value_3"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"soon,1", "bad_timestamp"),
        (b"2014-04-01 00:00:00,fast", "bad_number"),
        (b"timestamp,value\n2014-04-01 00:00:00,1,2", "bad_line"),
        (b"2014-04-01 00:00:00,1\n2014-04-01 00:05:00", "bad_line"),
        (b'2014-04-01 00:00:00,"1', "bad_line"),
        (b"2014-04-01 00:00:00,1\r2014-04-01 00:05:00,2", "bad_line"),
        (b"\xff,1", "bad_utf8"),
        (b"\x00", "bad_timestamp"),
        (b"9" * 5000 + b",1", "bad_timestamp"),
        (b'"' + b"9" * 200_000 + b'",1', "bad_line"),
    ],
)
def test_a_bad_line_refuses_its_record_with_the_reason_and_the_neighbours_go_on(value: bytes, reason: str):
    good = b"2014-04-01 00:00:00,1"
    decoded = decode(good, value, b"", None, good)
    assert decoded.points.value.tolist() == [1.0, 1.0]
    assert [(d.offset, d.reason, d.value) for d in decoded.dead] == [(1, reason, value)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "timestamp,value\n2014-04-01 00:00:00,1\n\n2014-04-01 00:05:00,fast\n",
            r"bad_number: .*speed\.csv: line 4: 'fast'",
        ),
        ("timestamp,value\nsoon,1\n", r"bad_timestamp: .*speed\.csv: line 2: 'soon'"),
        ("timestamp,value\n2014-04-01 00:00:00,1,2\n", r"bad_line: .*speed\.csv: line 2: 3 cells, expected 2"),
        ('timestamp,value\n"2014-04-01 00:00:00",1\n"soon",1\n', r"bad_timestamp: .*speed\.csv: line 3: 'soon'"),
        ("2014-04-01 00:00:00,1\n", r"bad_header: .*speed\.csv: line 1 begins with '2014"),
        ("", r"bad_header: .*speed\.csv: line 1"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_line(tmp_path: Path, text: str, message: str):
    with pytest.raises(BadRecord, match=message):
        read_csv(written(tmp_path, text))


def test_a_file_of_a_header_alone_holds_nothing(tmp_path: Path):
    for text in ("timestamp,value", "\ufefftimestamp,value\r\n"):
        names, time, values = read_csv(written(tmp_path, text))
        assert (names, time.size, values.shape) == (["speed"], 0, (0, 1))


def test_a_series_past_the_limit_leaves_the_others(tmp_path: Path):
    known = Catalog(Identity(IdentitySettings()), limit=1)
    points = points_of_csv(written(tmp_path, "timestamp,a,b\n2014-04-01 00:00:00,1,2\n"), known)
    assert (points.value.tolist(), known.overflow) == ([1.0], 1)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=40), st.text('timestamp,value\n2014-04-01 00:00:00,1"\r', max_size=40))
def test_no_bytes_raise_anything(noise: bytes, text: str):
    decode(noise, text.encode(), b"timestamp,value\n" + noise)


def test_the_files_of_the_benchmark_are_read_to_the_last_row():
    """Every value against float() of its text, every time against numpy's own reading."""
    folder = Path(os.environ.get("ANOMALY_DATA", "")) / "nab" / "data"
    if "ANOMALY_DATA" not in os.environ or not folder.is_dir():
        pytest.skip("ANOMALY_DATA names no folder with nab/data")
    count = 0
    for path in sorted(folder.glob("*/*.csv")):
        rows = [line.split(",") for line in path.read_text().splitlines()[1:]]
        _, time, values = read_csv(path)
        count += time.size
        assert values[:, 0].tolist() == [float(row[1]) for row in rows]
        np.testing.assert_array_equal(time, np.array([row[0] for row in rows], "datetime64[ms]").astype(np.int64))
        assert not math.isnan(values.sum())
    assert count > 365_000
