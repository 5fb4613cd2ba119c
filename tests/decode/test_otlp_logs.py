"""OTLP logs. The scanner is held against the complete decoder, whatever a request holds and however it is damaged."""

import os
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest
from google.protobuf.json_format import MessageToJson
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from anomaly.config.settings import IdentitySettings, LogSettings
from anomaly.decode.catalog import Catalog
from anomaly.decode.encodings import Decoded
from anomaly.decode.identity import Identity
from anomaly.decode.log_lines import METRIC, OTHERS, TEMPLATE
from anomaly.decode.otlp_logs import Complete, OtlpLogsJson, OtlpLogsProto, scan
from anomaly.decode.records import Records

NOW, ROOT = 1_700_000_000_000, Path(__file__).parents[2]
NANO = 1_000_000


def request(*lines: dict[str, Any], service: str = "cart") -> ExportLogsServiceRequest:
    made = ExportLogsServiceRequest()
    one = made.resource_logs.add()
    one.resource.attributes.add(key="service.name").value.string_value = service
    scope = one.scope_logs.add()
    scope.scope.name = "logger"
    for given_ in lines:
        record = scope.log_records.add(**{k: v for k, v in given_.items() if k not in ("text", "body")})
        if "text" in given_:
            record.body.string_value = given_["text"]
        for kind, value in given_.get("body", {}).items():
            setattr(record.body, kind, value)
    return made


def rows(decoded: Decoded, known: Catalog) -> list[tuple[Any, ...]]:
    """Each point with who wrote it and its template; of an example any line will do."""
    points, found = decoded.points, []
    for i in range(len(points)):
        series = known.series[int(known.rows_of(points.series[i : i + 1])[0])]
        labels = tuple(label for label in series.labels if label[0] != "log.example")
        found.append(
            (int(points.record[i]), series.group, series.metric, labels, int(points.time[i]), float(points.value[i]))
        )
    return found


def decoded(encoding: Any, *values: bytes) -> tuple[list[tuple[Any, ...]], list[str]]:
    known = Catalog(Identity(IdentitySettings(), 5))
    out = encoding.decode(Records.of(values, "logs", time=NOW), known)
    return rows(out, known), [letter.reason for letter in out.dead]


class Whole(OtlpLogsProto):
    """The complete decoder alone."""

    decode = Complete.decode


LINES = st.fixed_dictionaries(
    {},
    optional={
        "text": st.sampled_from(["", "a 1", "a 2", "été 12", "x\ny", "GET /a/1 in 5 ms"]) | st.text(max_size=40),
        "body": st.sampled_from([{"int_value": 3}, {"bool_value": True}]),
        "time_unix_nano": st.sampled_from([0, NOW * NANO, NOW * NANO + 2_000 * NANO, 2**64 - 5]),
        "observed_time_unix_nano": st.sampled_from([0, NOW * NANO + 7 * NANO, 2**63]),
        "severity_number": st.sampled_from([0, 1, 9, 17, 24]),
        "severity_text": st.sampled_from(["", "INFO", "error", "Emergency", "Critical", "?"]),
        "event_name": st.just("booted"),
        "trace_id": st.just(b"0" * 16),
        "flags": st.just(1),
    },
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(LINES, max_size=5), min_size=1, max_size=3))
def test_scanner_and_complete_decoder_count_the_same_lines(records):
    values = [request(*lines).SerializeToString() for lines in records]

    assert decoded(OtlpLogsProto(), *values) == decoded(Whole(), *values)


@settings(max_examples=30, deadline=None)
@given(st.lists(LINES.filter(lambda line: "trace_id" not in line), max_size=4))
def test_both_forms_say_the_same(lines):
    made = request(*lines)
    as_json = MessageToJson(made, use_integers_for_enums=True).encode()

    assert decoded(OtlpLogsJson(), as_json)[0] == decoded(OtlpLogsProto(), made.SerializeToString())[0]


def test_damaged_requests_are_read_as_the_complete_decoder_reads_them_or_set_aside():
    whole, random = (
        request({"text": "paid order 7", "severity_number": 9, "time_unix_nano": NOW * NANO}).SerializeToString(),
        Random(4),
    )
    values = [whole[:cut] for cut in range(len(whole))]
    for _ in range(400):
        damaged = bytearray(whole)
        damaged[random.randrange(len(damaged))] = random.choice([0, 1, 8, 0x7F, 0x80, 0xFF, random.randrange(256)])
        values.append(bytes(damaged))
    for value in values:
        # what the scanner does not read (attributes of lines, scopes) it does not check, and takes
        ours, theirs = decoded(OtlpLogsProto(), value), decoded(Whole(), value)
        assert ours == theirs or (not ours[1] and theirs[1]), value


def test_a_request_in_the_other_form_says_so():
    assert decoded(OtlpLogsProto(), orjson.dumps({"resourceLogs": []}))[1] == ["malformed"]
    assert decoded(OtlpLogsJson(), b'{"resourceLogs": [')[1] == ["truncated"]


def test_lines_of_one_kind_within_a_second_are_one_point():
    lines = [{"text": f"took {i} ms", "time_unix_nano": (NOW + 100 * i) * NANO} for i in range(15)]

    found = decoded(OtlpLogsProto(), request(*lines).SerializeToString())[0]

    assert [(time - NOW, value) for *_, time, value in found] == [(900, 10.0), (1400, 5.0)]
    assert dict(found[0][3])[TEMPLATE] == "took <*> ms"
    assert found[0][2] == METRIC


def test_kinds_past_the_limit_are_counted_together():
    encoding, known = OtlpLogsProto(), Catalog(Identity(IdentitySettings()))
    encoding.configure(LogSettings(signatures=10))
    texts = ["".join(chr(ord("g") + int(d)) for d in str(i)) for i in range(1_000)]
    value = request(*({"text": text, "time_unix_nano": NOW * NANO} for text in texts)).SerializeToString()

    found = rows(encoding.decode(Records.of([value]), known), known)

    assert sum(row[-1] for row in found) == 1_000
    assert len({row[3] for row in found}) == 11
    assert sum(row[-1] for row in found if dict(row[3])[TEMPLATE] == OTHERS) == 990


BOUNDS = """
import numpy as np
from random import Random
from tests.decode.test_otlp_logs import NANO, NOW, request
from anomaly.compiled import CHECKED
from anomaly.decode.otlp_logs import scan
from anomaly.decode.records import Records

assert CHECKED

def block(value):
    records = Records.of([value])
    records.buffer = np.concatenate([np.frombuffer(value, np.uint8), np.zeros(8, np.uint8)])  # not a byte to spare
    return records

texts = ["order 7 of bob@shop.org: 'x' 10.0.0.1:80", "1=1=1=" * 400, "a.b.C#12 \\u00e9 -5 blk_-7", "deadbeefdead /a/1/b"]
whole = request(*({"text": t, "severity_text": "Info", "time_unix_nano": NOW * NANO} for t in texts)).SerializeToString()
random, taken = Random(1), 0
for cut in range(0, len(whole), 3):
    taken += not scan(block(whole[:cut]), 0)[2][0]
for _ in range(4_000):
    value = bytearray(whole)
    for _ in range(random.randint(1, 4)):
        value[random.randrange(len(value))] = random.choice([0, 1, 8, 34, 39, 64, 0x7F, 0x80, 0xFF, random.randrange(256)])
    taken += not scan(block(bytes(value)), 0)[2][0]
print("taken", taken)
"""


def test_no_damage_makes_the_scanner_leave_its_arrays():
    """numba checks no bounds by itself; here it does, and an index outside would raise."""
    done = subprocess.run(
        [sys.executable, "-c", BOUNDS], env=os.environ | {"ANOMALY_BOUNDSCHECK": "1"}, capture_output=True, text=True,
        timeout=280, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout.split()[1]) > 500


def test_a_block_of_many_short_kinds_gets_the_room_it_needs():
    texts = ["".join(chr(ord("g") + int(d)) for d in str(i)) for i in range(3_000)]
    value = request(*({"text": text} for text in texts)).SerializeToString()

    assert scan(Records.of([value]), 0)[1].shape[1] == 3_000


@pytest.mark.parametrize("value", [b"", None])
def test_an_empty_record_holds_nothing(value):
    known = Catalog(Identity(IdentitySettings()))
    out = OtlpLogsProto().decode(Records.of([value]), known)
    assert (len(out.points), out.dead) == (0, [])
