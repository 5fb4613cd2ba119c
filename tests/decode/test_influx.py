"""Line protocol, against lines whose parts are known."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly.config.settings import IdentitySettings
from anomaly.decode.catalog import Catalog
from anomaly.decode.encodings import ENCODINGS, Decoded
from anomaly.decode.identity import Identity
from anomaly.decode.influx import parse
from anomaly.decode.points import Kind
from anomaly.decode.records import Records

MS = 1_767_225_600_000
NS = MS * 1_000_000


def decode(*values: bytes | None) -> Decoded:
    return ENCODINGS["influx"]().decode(Records.of(list(values), "telegraf"), Catalog(Identity(IdentitySettings())))


def points(line: str) -> list[tuple[str, float]]:
    return [(s.series.metric, s.value) for s in parse(line.encode())]


def test_each_numeric_field_is_a_series_named_after_measurement_and_field():
    (idle, count) = parse(f"cpu,host=a,cpu=cpu0 usage_idle=91.5,n_total=7i {NS + 1_999_999}".encode())
    assert (idle.series.metric, idle.value, idle.time, idle.series.kind) == ("cpu_usage_idle", 91.5, MS + 1, Kind.GAUGE)
    assert (count.series.metric, count.value, count.series.kind) == ("cpu_n_total", 7.0, Kind.COUNTER)
    assert idle.series.attributes == count.series.attributes == {"host": "a", "cpu": "cpu0"}


def test_every_type_of_field_is_read_and_text_is_left_out():
    line = f'm i=-12i,u=12u,f=1.5,e=-1.2E+3,z=0,s="x, y=1",t=t,T=T,y=True,n=FALSE,empty="" {NS}'
    assert points(line) == [
        ("m_i", -12.0), ("m_u", 12.0), ("m_f", 1.5), ("m_e", -1200.0), ("m_z", 0.0),
        ("m_t", 1.0), ("m_T", 1.0), ("m_y", 1.0), ("m_n", 0.0),
    ]  # fmt: skip


def test_comments_blank_lines_and_carriage_returns_are_skipped():
    lines = f"# a comment\r\n\n  \nm a=1 {NS}\r\n   # m a=2 {NS}\n\nm a=3 {NS}\n# the end"
    assert points(lines) == [("m_a", 1.0), ("m_a", 3.0)]
    assert points("# only this") == points("\n\n") == points("") == []


def test_a_text_may_hold_line_breaks_quotes_and_what_looks_like_a_line():
    assert points(f'm s="one\nm b=2 {NS}\\" \\\\",a=1 {NS}\nm a=4 {NS}') == [("m_a", 1.0), ("m_a", 4.0)]


def escaped(text: str, special: str) -> str:
    return "".join("\\" + c if c in special else c for c in text)


NAMES = st.text(st.sampled_from("ab ,=é\"#'1.:/"), min_size=1, max_size=6).map(lambda t: "n" + t)


NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            NAMES,
            st.dictionaries(NAMES, NAMES, max_size=3),
            st.dictionaries(
                NAMES, st.floats(allow_nan=False, allow_infinity=False) | st.text('ab" ,=\\\n', max_size=6), min_size=1
            ),
            st.integers(0, 2**62),
        ),
        max_size=4,
    )
)
def test_lines_written_by_the_rules_come_out_as_they_went_in(
    drawn: list[tuple[str, dict[str, str], dict[str, float | str], int]],
):
    lines, expected = [], []
    for measurement, tags, fields, at in drawn:
        head = escaped(measurement, ", ") + "".join(f",{escaped(k, ',= ')}={escaped(v, ',= ')}" for k, v in tags.items())
        texts = {k: '"' + escaped(v, '"\\') + '"' if isinstance(v, str) else repr(v) for k, v in fields.items()}
        lines.append(head + " " + ",".join(f"{escaped(k, ',= ')}={v}" for k, v in texts.items()) + f" {at}")
        numbers = {k: v for k, v in fields.items() if not isinstance(v, str)}
        expected += [(f"{measurement}_{k}", tags, v, at // 1_000_000) for k, v in numbers.items()]
    found = parse("\n".join(lines).encode())
    assert [(s.series.metric, s.series.attributes, s.value, s.time) for s in found] == expected


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("m a=1", "no_timestamp"),
        (f"m a=1 {NS}\nm a=2", "no_timestamp"),
        (f"m a= {NS}", "bad_line"),
        (f"m {NS}", "bad_line"),
        (f"m,host= a=1 {NS}", "bad_line"),
        (f"m,host a=1 {NS}", "bad_line"),
        (f",host=a a=1 {NS}", "bad_line"),
        (f" m a=1,b {NS}", "bad_line"),
        (f'm s="open {NS}', "bad_line"),
        (f"m a=1 {NS} 7", "bad_line"),
        (f"m a=1 {NS}x", "bad_line"),
        ("m a=1 " + "9" * 5000, "bad_line"),
        (f"m a=fast {NS}", "bad_number"),
        (f"m a=1_0 {NS}", "bad_number"),
        (f"m a=1.5i {NS}", "bad_number"),
        ("m", "bad_line"),
        ("{}", "bad_line"),
        ("\x00", "bad_line"),
    ],
)
def test_a_bad_line_refuses_its_record_with_the_reason_and_the_neighbours_go_on(line: str, reason: str):
    good = f"m a=1 {NS}".encode()
    decoded = decode(good, line.encode(), b"", None, good)
    assert decoded.points.value.tolist() == [1.0, 1.0]
    assert [(d.offset, d.reason, d.value) for d in decoded.dead] == [(1, reason, line.encode())]


def test_the_reason_names_the_line():
    (dead,) = decode(f"m a=1 {NS}\n\nm a={NS}\nm b".encode()).dead
    assert (dead.reason, dead.detail.split(":")[0]) == ("no_timestamp", "line 3")


def test_invalid_utf8_is_set_aside():
    assert [d.reason for d in decode(b"m,host=\xff a=1 1").dead] == ["bad_utf8"]


def test_a_repeated_tag_counts_as_its_last_one_and_times_of_zero_and_before_come_through():
    first, second = parse(b"m,k=1,k=2 a=1 0\nm a=1 -1")
    assert (first.series.attributes, first.time, second.time) == ({"k": "2"}, 0, -1)


@pytest.mark.parametrize("bomb", [b"\\", b",a=b", b"a=1,", b'\\"', b"m,a=", b'm a="', b"a=\\,", b"m a=1,"])
def test_a_line_of_a_megabyte_that_never_comes_to_an_end_is_set_aside(bomb: bytes):
    values = [head + bomb * (2**20 // len(bomb)) for head in (b"", b"m", b"m ", b'm a="')]
    assert [d.reason for d in decode(*values).dead] == ["bad_line"] * 4


def test_a_megabyte_of_nothing_is_nothing():
    decoded = decode(b" " * 2**20, b"\n" * 2**20, b"#" * 2**20, b"#\n" * 2**19)
    assert (len(decoded.points), decoded.dead) == (0, [])


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40), st.text('ma=,1 \\"\n#ti-', max_size=30), st.integers(0, 10_000), st.integers(0, 255))
def test_no_bytes_raise_anything(noise: bytes, text: str, place: int, byte: int):
    flipped = bytearray(f'cpu,host=a b=1,c="x" {NS}\n'.encode() * 2)
    flipped[place % len(flipped)] = byte
    decode(noise, text.encode(), bytes(flipped))
