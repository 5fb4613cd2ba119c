"""Telegraf's JSON, against orjson."""

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly.config.settings import IdentitySettings
from anomaly.decode import telegraf_json
from anomaly.decode.catalog import Catalog
from anomaly.decode.encodings import ENCODINGS, Decoded, Parsed
from anomaly.decode.identity import Identity
from anomaly.decode.points import Kind
from anomaly.decode.records import BadRecord, Records
from anomaly.decode.telegraf_json import parse

S = 1_767_225_600


def decode(*values: bytes | None) -> Decoded:
    return ENCODINGS["telegraf_json"]().decode(Records.of(list(values), "telegraf"), Catalog(Identity(IdentitySettings())))


def message(fields: dict[str, object], at: object = S, name: str = "cpu", **tags: str) -> bytes:
    return orjson.dumps({"name": name, "tags": tags, "fields": fields, "timestamp": at})


def test_each_numeric_field_is_a_series_named_after_measurement_and_field():
    fields = {"usage_idle": 91.5, "count": 7, "up": True, "state": "running", "none": None}
    samples = list(parse(message(fields, host="a", cpu="cpu0")))
    assert [(s.series.metric, s.value, s.series.kind) for s in samples] == [
        ("cpu_usage_idle", 91.5, Kind.GAUGE),
        ("cpu_count", 7.0, Kind.COUNTER),
        ("cpu_up", 1.0, Kind.GAUGE),
    ]
    assert {s.time for s in samples} == {S * 1000}
    assert all(s.series.attributes == {"host": "a", "cpu": "cpu0"} for s in samples)


def test_the_host_is_the_group_and_the_tags_are_labels():
    known = Catalog(Identity(IdentitySettings()))
    ENCODINGS["telegraf_json"]().decode(Records.of([message({"x": 1}, host="a", cpu="cpu0")]), known)
    assert (known.series[0].group, known.series[0].labels) == ("a", (("cpu", "cpu0"),))


def test_a_batch_is_its_metrics_one_after_the_other():
    single = [message({"x": i}, name=n) for i, n in enumerate(("a", "b"))]
    batch = b'{"metrics":[' + b",".join(single) + b"]}"
    assert list(parse(batch)) == [s for value in single for s in parse(value)]
    assert list(parse(b'{"metrics":[]}')) == []


@pytest.mark.parametrize("at", [S, S * 1000, S * 10**6, S * 10**9, float(S), "2026-01-01T00:00:00Z", str(S)])
def test_the_unit_of_the_time_is_told_by_its_size(at: object):
    assert [s.time for s in parse(message({"x": 1}, at))] == [S * 1000]


@settings(max_examples=80, deadline=None)
@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8"), max_size=6),
        st.none() | st.booleans() | st.text(max_size=3) | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False),
        max_size=6,
    )
)
def test_whatever_fields_a_message_has_they_come_out_as_orjson_reads_them(fields: dict[str, object]):
    raw = message(fields)
    expected = orjson.loads(raw)["fields"]
    found = {s.series.metric: s.value for s in parse(raw)}
    assert found == {f"cpu_{k}": float(v) for k, v in expected.items() if v is not None and not isinstance(v, str)}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (message({"x": 1})[:-1], "bad_json"),
        (b"[]", "bad_json"),
        (b"null", "bad_json"),
        (b"NaN", "bad_json"),
        (b"{}", "no_name"),
        (b'{"metrics":[{}]}', "no_name"),
        (b'{"metrics":[1]}', "bad_json"),
        (b'{"name":"a","fields":{"x":1}}', "no_timestamp"),
        (message({"x": [1]}), "bad_json"),
        (message({"x": {"y": 1}}), "bad_json"),
        (message({"x": 1}, host=1), "bad_json"),  # type: ignore[arg-type]
        (message({"x": 1}, at=10**19), "bad_timestamp"),
        (message({"x": 1}, at="soon"), "bad_timestamp"),
        (message({"x": 1}, at=[]), "bad_json"),
        (message({"x": 7}).replace(b"7", b"NaN"), "bad_json"),
        (message({"x": 7}).replace(b"7", b"1e999"), "bad_json"),
        (message({"x": 7}).replace(b":7", b":7" + b"0" * 400), "bad_number"),
        (message({"x": 7}).replace(b":7", b":7" + b"0" * 9000), "bad_json"),
        (message({"x": 1}, host="HOST").replace(b"HOST", b"\xff"), "bad_utf8"),
        (b"[" * 200_000, "bad_json"),
        (b'{"metrics":' * 200_000, "bad_json"),
        (b'{"fields":{"a":' + b'{"a":' * 200_000, "bad_json"),
    ],
)
def test_a_bad_message_is_set_aside_with_its_reason_and_its_neighbours_go_on(value: bytes, reason: str):
    decoded = decode(message({"x": 1}), value, b"", None, message({"x": 2}))
    assert decoded.points.value.tolist() == [1.0, 2.0]
    assert [(d.offset, d.reason, d.value) for d in decoded.dead] == [(1, reason, value)]


def test_one_bad_metric_refuses_its_batch():
    with pytest.raises(BadRecord, match="no_timestamp"):
        list(parse(b'{"metrics":[' + message({"x": 1}) + b',{"name":"a","fields":{"x":1}}]}'))


def test_times_of_zero_and_before_come_through_to_be_judged_later():
    assert [s.time for at in (0, -5) for s in parse(message({"x": 1}, at))] == [0, -5000]


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=40), st.integers(0, 10_000), st.integers(0, 255))
def test_no_bytes_raise_anything(noise: bytes, place: int, byte: int):
    flipped = bytearray(message({"usage_idle": 91.5, "n": 7}, host="a"))
    flipped[place % len(flipped)] = byte
    decode(noise, bytes(flipped))


TEXT = st.text(st.characters(codec="utf-8"), max_size=6) | st.sampled_from(["usage_idle", "host", "a", "\\", '"', "é"])
VALUES = (
    st.none() | st.booleans() | TEXT | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
METRICS = st.fixed_dictionaries(
    {
        "fields": st.dictionaries(TEXT, VALUES, max_size=6),
        "name": TEXT.filter(bool),
        "tags": st.dictionaries(TEXT, TEXT, max_size=3),
        "timestamp": st.sampled_from([S, S * 1000, S * 10**6, S * 10**9, 0, -5, S + 0.5, str(S)]),
    }
)


def told(decoded: Decoded, known: Catalog) -> tuple[list[tuple[object, ...]], list[tuple[int, str]]]:
    """Points with their series in full, and dead letters."""
    rows, points = known.rows_of(decoded.points.series).tolist(), decoded.points
    columns = points.record.tolist(), points.time.tolist(), map(repr, points.value.tolist()), points.kind.tolist()
    found = [
        (s.metric, s.unit, s.group, s.labels, s.instance, *rest)
        for s, *rest in zip([known.series[r] for r in rows], *columns, strict=True)
    ]
    return found, [(d.offset, d.reason) for d in decoded.dead]


def both(*values: bytes) -> None:
    """The scanner with what stands behind it gives what the complete decoder alone gives, twice in a row."""
    one, other = (Catalog(Identity(IdentitySettings())) for _ in range(2))
    scanner, complete = ENCODINGS["telegraf_json"](), Parsed(parse)
    for _ in range(2):
        records = Records.of(list(values), "telegraf")
        assert told(scanner.decode(records, one), one) == told(complete.decode(records, other), other)


@settings(max_examples=200, deadline=None)
@given(st.lists(METRICS, max_size=5), st.sampled_from([b"", b" ", b"\n\t"]))
def test_the_scanner_and_the_complete_decoder_agree_to_the_bit(drawn: list[dict[str, object]], gap: bytes):
    both(*(gap + orjson.dumps(m).replace(b'":', b'"' + gap + b":" + gap) + gap for m in drawn))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=3))
def test_a_flipped_byte_gives_what_the_complete_decoder_gives(flips: list[tuple[int, int]]):
    whole = message({"usage_idle": 91.5, "n": -7, "up": True, "text": "x", "none": None, "e": 1e-7}, host="a", cpu="0")
    flipped = bytearray(whole)
    for place, byte in flips:
        flipped[place % len(flipped)] = byte
    both(whole, bytes(flipped), whole)


@pytest.mark.parametrize(
    "fields",
    [
        '"a":1,"a":2', '"a":1,"a":"x"', '"a":-0', '"a":-0.0', '"a":01', '"a":1.', '"a":1,', '"a":tru', '"a":truex',
        '"a":nul', '"a":9007199254740993', '"a":1e400', '"a" 1',
        '"a":"\\u0061"', '"\\u0061":1,"a":2', '"\xff":null', '"b":"\xff"', "",
    ],
)  # fmt: skip
def test_odd_fields_are_read_as_the_complete_decoder_reads_them(fields: str):
    both(f'{{"name":"m","tags":{{}},"fields":{{{fields}}},"timestamp":{S}}}'.encode("latin-1"))


def test_a_truncation_is_never_taken():
    whole = message({"usage_idle": 91.5, "n": 7}, host="a")
    both(*(whole[:n] for n in range(1, len(whole))), whole + b"x", whole + whole)


def test_the_usual_message_is_only_scanned_once_its_series_are_known(monkeypatch: pytest.MonkeyPatch):
    known, encoding = Catalog(Identity(IdentitySettings())), ENCODINGS["telegraf_json"]()
    values = [message({"usage_idle": 91.5 + i, "state": "up", "n": i, "none": None}, S + i, host="a") for i in range(3)]
    encoding.decode(Records.of(values[:1]), known)
    monkeypatch.setattr(telegraf_json, "read_json", lambda *_: pytest.fail("the complete decoder was asked"))
    points = encoding.decode(Records.of(values), known).points
    assert points.value.tolist() == [91.5, 0.0, 92.5, 1.0, 93.5, 2.0]
    assert (points.record.tolist(), len(known.series)) == ([0, 0, 1, 1, 2, 2], 2)


def test_points_of_series_past_the_limit_are_counted_again_and_again():
    known, encoding = Catalog(Identity(IdentitySettings()), 1), ENCODINGS["telegraf_json"]()
    for _ in range(2):
        decoded = encoding.decode(Records.of([message({"a": 1, "b": 2}, host="h")]), known)
        assert (decoded.points.value.tolist(), decoded.overflow, decoded.dead) == ([1.0], 1, [])
    assert known.overflow == 1


def test_a_message_of_the_smallest_fields_fits_though_room_is_made_for_usual_ones():
    both(message({chr(97 + i): i % 10 for i in range(26)}, name="m"), message({str(i): 1 for i in range(300)}, name="m"))
