"""What becomes of a line: its signature, its secrets, its level, and who wrote it when, in the forms of the shippers."""

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly.config.settings import IdentitySettings, LogSettings
from anomaly.decode.catalog import Catalog
from anomaly.decode.identity import EXAMPLE, Identity
from anomaly.decode.json_logs import JsonLogs, lines
from anomaly.decode.log_chart import LONGEST
from anomaly.decode.log_lines import LEVELS, TEMPLATE, level_in
from anomaly.decode.log_mask import masked
from anomaly.decode.records import Records
from anomaly.decode.secrets import Secrets
from anomaly.decode.text_logs import TextLogs

NOW = 1_700_000_000_000


@pytest.mark.parametrize(
    ("line", "signature"),
    [
        ("Received block blk_-160 src: /10.250.19.102:54106", "Received block blk_<*> src: /<*>"),
        ("ask 10.0.0.1:50010 to delete  blk_1 blk_-2 blk_33", "ask <*> to delete blk_<*>"),
        ("2026-01-01 12:00:00,123 INFO shop.Cart#145 took 5ms", "<*> INFO shop.Cart#145 took <*>"),
        ("GET /api/v1/users/123/orders 200 0.12", "GET /api/v<*>/users/<*>/orders <*>"),
        ("user bob@x.com said 'no way' and don't care", "user <*> said <*> and don't care"),
        ('{"level":"error","msg":"db down after 3 s"}', '{"level":"error","msg":"db down after <*> s"}'),
        ("id f3d4d4ef-693b-4456-8eed-59c0d717dd08.", "id <*>."),
        ("deadbeefcafe is gone\n  at line 5", "<*> is gone"),
        ("", ""),
    ],
)
def test_parameters_are_taken_out_and_words_stay(line, signature):
    assert masked(line.encode()).decode() == signature


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=LONGEST + 50))
def test_any_bytes_have_a_signature_that_has_none_but_itself(line):
    once = masked(line)
    assert len(once) <= 4 * LONGEST
    assert masked(once) == once or b'"' in line or b"'" in line or b"<*>" in once


@pytest.mark.parametrize(
    "secret",
    [
        "hunter2",
        "abc.def-ghi",
        "eyJhbGciOiJI.eyJzdWIiOiIx.sig-_x",
        "bob@example.com",
        "4111 1111 1111 1111",
        "AKIAABCDEFGHIJKLMNOP",
    ],
)
def test_secrets_do_not_show(secret):
    for line in (f"password={secret}", f'login {{"api_key": "{secret}"}}', f"Authorization: Bearer {secret} ok"):
        assert secret not in Secrets().hide(line)
    if secret not in ("hunter2", "abc.def-ghi"):
        assert secret not in Secrets().hide(f"said {secret} to us")


def test_a_number_without_a_check_digit_is_no_card():
    assert Secrets().hide("order 4111111111111112 paid") == "order 4111111111111112 paid"


def test_a_pattern_of_the_configuration_is_hidden_from_template_and_example():
    encoding, known = TextLogs(), Catalog(Identity(IdentitySettings()))
    encoding.configure(LogSettings(secrets=("plan-[a-z]+",)))
    encoding.decode(Records.of([b"launch plan-thunderbird now"], "shop", time=NOW), known)

    labels = dict(known.series[0].labels)
    assert (labels[TEMPLATE], labels[EXAMPLE]) == ("launch <secret> now",) * 2


FLUENT_BIT = {
    "@timestamp": 1700000000.25, "log": "GET /a failed", "stream": "stderr", "level": "error",
    "kubernetes": {"pod_name": "cart-1", "namespace_name": "shop", "labels": {"app": "cart"}},
}  # fmt: skip
VECTOR = {
    "host": "h", "message": "GET /a failed", "timestamp": "2023-11-14T22:13:20.250+00:00", "service": "cart",
    "level": "ERROR",
}  # fmt: skip
FILEBEAT = {
    "@timestamp": "2023-11-14T23:13:20.250123456+01:00", "message": "GET /a failed", "service": {"name": "cart"},
    "log": {"level": "ERROR", "file": {"path": "/x"}, "offset": 7}, "@metadata": {"beat": "filebeat"},
}  # fmt: skip
CONTAINER = {
    "log": '{"level":"error","msg":"GET /a failed","time":1700000000250}\n', "app": "cart", "time": "2020-01-01T00:00:00Z"
}  # fmt: skip
MICROSECONDS = {"ts": 1700000000250000, "msg": "GET /a failed", "level": 50, "service.name": "cart"}
NANOSECONDS = {
    "time": 1700000000250000000, "body": "GET /a failed", "severityText": "ERROR", "resource": {"service.name": "cart"}
}  # fmt: skip


@pytest.mark.parametrize("event", [FLUENT_BIT, VECTOR, {"log": VECTOR}, FILEBEAT, CONTAINER, MICROSECONDS, NANOSECONDS])
def test_a_shippers_line_says_who_wrote_what_when(event):
    (line,) = lines(orjson.dumps(event))

    assert line.text == "GET /a failed"
    assert LEVELS[line.level] == "error"
    assert line.time == NOW + 250
    assert line.attributes["service.name"] == "cart"


@pytest.mark.parametrize(
    ("value", "reason"),
    [(b"{", "bad_json"), (b'{"a": 1}', "no_message"), (b"[3]", "bad_json"), (b'{"log":"\xff"}', "bad_utf8")],
)
def test_a_json_record_without_a_line_is_set_aside(value, reason):
    out = JsonLogs().decode(Records.of([value, b'{"msg":"good"}'], time=NOW), Catalog(Identity(IdentitySettings())))

    assert [letter.reason for letter in out.dead] == [reason]
    assert out.points.value.sum() == 1
    assert out.points.time[0] == NOW


def test_a_plain_line_has_its_own_time_and_level_and_its_sources_name():
    known = Catalog(Identity(IdentitySettings()))
    values = [b"2023-11-14 22:13:20,250 ERROR lost 3", b"lost 4", b"\xff", b"  ", b""]
    out = TextLogs().decode(Records.of(values, "billing", time=NOW + 9_000), known)

    assert out.points.time.tolist() == [NOW + 250, NOW + 9_000]
    assert [(s.group, dict(s.labels)["severity"]) for s in known.series] == [("billing", "error"), ("billing", "unset")]
    assert [letter.reason for letter in out.dead] == ["bad_utf8"]


@pytest.mark.parametrize(
    ("text", "level"), [("[info] up", "info"), ("12 WARN x", "warn"), ("level=error x", "error"), ("an error", "unset")]
)
def test_a_level_is_read_where_loggers_write_it(text, level):
    assert LEVELS[level_in(text)] == level
