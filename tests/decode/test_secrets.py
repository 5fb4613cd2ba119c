"""No part of a secret is left in what is kept of a line, wherever it stands, and a line costs no more than its length."""

import re
import string

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from anomaly.decode.log_lines import Lines
from anomaly.decode.otlp_logs_scan import INFO
from anomaly.decode.secrets import Secrets, has_check_digit, is_account

WORDS = st.text(string.ascii_letters + string.digits, min_size=8, max_size=24)
ODD = st.text(string.ascii_letters + string.digits + "!#$%*+-./<>?^_`{|}~()[]é", min_size=8, max_size=24)


def luhn(digits: str) -> str:
    """With its check digit."""
    return next(digits + d for d in string.digits if has_check_digit(digits + d))


def account(country: str, rest: str) -> str:
    """An IBAN."""
    return next(one for n in range(2, 99) if is_account(one := f"{country}{n:02}{rest}"))


# Where a secret of any characters stands: `{}` is its place.
NAMED = st.sampled_from([
    "password={}", "PASSWORD = {} and more", "db_password: {}", "user=a&token={}&b=1", "x-api-key: {}", "client_secret=>{}",
    "--password {} --host x", "Authorization: Bearer {}", "authorization=Token {}", "Authorization: ApiKey {}",
    "AWS_SECRET_ACCESS_KEY={}", "the password is {}", "Authorization: Basic {} rest", "passcode:={}", "sig={}", "otp: {}",
])  # fmt: skip
QUOTED = st.sampled_from([
    '{{"password": "{}"}}', '{{"a":{{"apiKey":"{}","b":1}}}}', "password='{}'", "set token '{}' for x",
    '{{\\"secret\\":\\"{}\\"}}',
    '"tokens": ["{}"]', 'Authorization: "{}"', 'password="a\\"{}"', "token: '{}",
    'Authorization: Digest username="u", response="{}"', "Cookie: a=b; session={}",
])  # fmt: skip
FREE = st.sampled_from(["{}", "said {} to us", "a,{};b", "[{}]", 'x="{}"', "<{}>", "id:{}.", "to ({})"])


def shows(secret: str, line: str) -> bool:
    """Whether four of its characters in a row are left of it, in the example or in the template; but for those that the line
    has of its own, as `thor` in Authorization."""
    lines = Lines()
    said = lines.described({}, INFO, line).attributes
    kept = Secrets().hide(line) + said["log.template"] + said["log.example"]
    ours = re.sub(r"<(?:secret|card|iban|email|\*)>", "\n", kept)
    pieces = {secret[i : i + 4] for i in range(len(secret) - 3)}
    return any(piece in ours for piece in pieces if piece not in line.replace(secret, "\n"))


@settings(max_examples=150, deadline=None)
@given(NAMED, ODD)
@example("password={}", "[00]0000")
@example("Authorization: Bearer {}", "{00}0000")
def test_what_has_a_name_is_hidden_whatever_it_is(place: str, secret: str):
    assert not shows(secret, place.format(secret)), place


@settings(max_examples=100, deadline=None)
@given(QUOTED, st.lists(WORDS, min_size=1, max_size=3).map("".join))
def test_what_is_quoted_is_hidden_up_to_its_end(place: str, secret: str):
    assert not shows(secret, place.format(secret)), place


DIGITS = st.text(string.digits, min_size=15, max_size=15)
CARDS = st.tuples(st.sampled_from("3456"), DIGITS).map(lambda t: luhn(t[0] + t[1][1:]))
FORMS = st.one_of(
    CARDS, CARDS.map(lambda c: " ".join(re.findall("....", c))), CARDS.map(lambda c: "-".join(re.findall("....", c))),
    st.tuples(WORDS, WORDS, WORDS).map(lambda t: f"eyJ{t[0]}.{t[1]}.{t[2]}"),
    st.text(string.ascii_uppercase + string.digits, min_size=16, max_size=16).map("AKIA{}".format),
    st.text(string.ascii_letters, min_size=30, max_size=36).map("ghp_{}".format),
    st.text(string.ascii_letters, min_size=24, max_size=24).map("sk_live_{}".format),
    st.tuples(WORDS, WORDS).map(lambda t: f"{t[0]}.{t[1]}@mail.example.com"),
    st.tuples(WORDS, WORDS).map(lambda t: f"{t[0]}+{t[1]}%40example.com"),
    st.tuples(st.sampled_from(["DE", "GB", "FR"]), DIGITS).map(lambda t: account(t[0], t[1] + "123")),
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(FREE, FORMS)
def test_what_has_a_form_of_its_own_is_hidden_without_a_name(place: str, secret: str):
    inside = secret.split("@")[0].split("%40")[0]
    assert not shows(inside, place.format(secret)), place


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["https://{}:{}@h.example/x", "redis://:{}{}@h:1", "https://{}{}@h/x", "u:{}{}@tcp(10.0.0.1)/db"]),
    WORDS,
    WORDS,
)
def test_who_logs_in_by_an_address_is_hidden(place: str, name: str, secret: str):
    assert not shows(secret, place.format(name, secret))
    assert not shows(secret, place.format(name, f"a@{secret}"))


def test_a_card_is_found_among_other_numbers_and_an_account_with_blanks():
    hide = Secrets().hide
    assert hide("order 12 4111 1111 1111 1111 7") == "order 12 <card> 7"
    assert hide("card-4111111111111111 x4111111111111111") == "card-<card> x<card>"
    assert hide("to GB82 WEST 1234 5698 7654 32 today") == "to <iban> today"


@pytest.mark.parametrize(
    "line",
    [
        "order 4111111111111112 paid", "at 1700000000000 ms", "took 0.4111111111111111 s", "2023-11-14 22:13:20.123456789",
        "f3d4d4ef-693b-4456-8eed-59c0d717dd08", "GET /api/v1/users/123?page=2", "10.250.19.102:54106", "at a.b.C(D.java:12)",
        "key: value", "Received block blk_-1608999687919862906 of size 91178", "user bob logged in", "password rejected",
    ],
)  # fmt: skip
def test_what_is_no_secret_stays(line: str):
    assert Secrets().hide(line) == line


@pytest.mark.parametrize(
    "part", ["é", "a", "1", "-", ".", "a.", "a@", "passwd", '"', "\\", "1 ", "token=", "://", "a:", "[", "GB82 WEST "]
)
@pytest.mark.timeout(60)
def test_a_long_line_of_anything_costs_no_more_than_its_length(part: str):
    """What grows by the square of it would take minutes."""
    assert Secrets().hide((part * 100_000)[:100_000])
