"""Matchers mean what Alertmanager's do, and what could never fit is refused."""

import re
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly.command.matcher import BadMatcher, Matcher, parsed

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=12)
WORDS = st.text("abc/.-", min_size=1, max_size=6)
PATTERNS = st.text("ab*?/", min_size=1, max_size=6)


def as_expression(pattern: str) -> str:
    """A shell pattern of `*` and `?` as a regular expression."""
    return "".join({"*": "(.|\n)*", "?": "(.|\n)"}.get(c, re.escape(c)) for c in pattern)


@given(PATTERNS, st.text("ab/", max_size=6))
def test_an_expression_fits_what_the_shell_pattern_fits(pattern: str, value: str):
    """Against fnmatch, which anchors at both ends as well."""
    fits, not_fits = (Matcher("group", operator, as_expression(pattern)) for operator in ("=~", "!~"))
    assert fits.fits({"group": value}) is fnmatchcase(value, pattern)
    assert not_fits.fits({"group": value}) is not fnmatchcase(value, pattern)


@given(st.lists(WORDS, min_size=1, max_size=4), WORDS)
def test_an_alternative_fits_whole_values_alone(words: list[str], value: str):
    """Against `re` with the anchors that Alertmanager puts around."""
    expression = "|".join(map(re.escape, words))
    assert Matcher("a", "=~", expression).fits({"a": value}) is (re.search(rf"\A(?:{expression})\Z", value) is not None)
    assert Matcher("a", "=~", expression).fits({"a": value}) is (value in words)


@given(TEXT, TEXT)
def test_equal_and_unequal_compare(value: str, other: str):
    assert Matcher("a", "=", value).fits({"a": other}) is (value == other)
    assert Matcher("a", "!=", value).fits({"a": other}) is (value != other)


@given(TEXT.filter(bool))
def test_a_matcher_is_read_as_it_is_written(value: str):
    """Whatever the value holds: quotes, backslashes, line ends, commas, braces."""
    one = Matcher("service.name", "=", value)
    assert parsed([str(one)]) == (one,)
    assert parsed([f'{{{one},group=~"x.*"}}']) == (one, Matcher("group", "=~", "x.*"))


@pytest.mark.parametrize(
    ("text", "matcher"),
    [
        ("group=shop/web", ("group", "=", "shop/web")),
        ("group=~shop/.*", ("group", "=~", "shop/.*")),
        (' pod != "a b" ', ("pod", "!=", "a b")),
        ("service.name!~a{2,3}", ("service.name", "!~", "a{2,3}")),
        (r'a="\d\"\\\n"', ("a", "=", '\\d"\\\n')),
    ],
)
def test_matchers_are_written_as_for_amtool(text: str, matcher: tuple[str, str, str]):
    """With quotes, and as a shell leaves them; an escape that Alertmanager does not know stands for itself."""
    found, *_ = parsed([text, "environment=prod"])
    assert found == matcher


def test_a_label_that_is_not_there_is_empty():
    labels = {"group": "web"}
    assert Matcher("pod", "=", "").fits(labels)
    assert Matcher("pod", "!=", "a").fits(labels)
    assert Matcher("pod", "=~", "a?").fits(labels)
    assert not Matcher("pod", "=~", ".+").fits(labels)


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        ([], "is missing"),
        (["web"], "is no matcher"),
        (["=web"], "is no matcher"),
        (['group="web'], "is no matcher"),
        (["group==web", "group=" + 600 * "x"], "is no matcher"),
        (["group=~("], "is no regular expression"),
        (["group=~[z-a]"], "is no regular expression"),
        (["group=~(?=web).*"], "RE2 does not know"),
        ([r"group=~(a)\1"], "RE2 does not know"),
        (["group=~a++"], "RE2 does not know"),
        (["group="], "fits nothing"),
        (['environment=~""'], "fits nothing"),
        (["group!~.*"], "fits nothing"),
        (["metric!~.+"], "fits nothing"),
        (["group=web", "group=shop"], "never fit together"),
        (["group=web", "group!~w.*"], "never fit together"),
        (["pod!=a"], "would fit whatever there is"),
        (["group=~.*"], "would fit whatever there is"),
    ],
)
def test_what_never_fits_and_what_always_fits_is_refused(texts: list[str], why: str):
    """Who mistypes a matcher must not believe that he is heard, nor mute everything."""
    with pytest.raises(BadMatcher, match=re.escape(why)):
        parsed(texts)
