"""Which series are meant, in Alertmanager's syntax: `group=~"shop/.*"`, `environment="prod"`, `metric!="up"`.

`=` and `!=` compare, `=~` and `!~` take a regular expression that has to fit the whole value. A label that is not there has
the empty value, as in Alertmanager. Expressions are RE2's there and Python's here: what only Python knows is refused, so
that a matcher means the same in both.

What could never fit is refused rather than kept (fail closed): who mistypes a matcher must not believe that he is heard.
Not found is an expression that fits nothing, and a label that no series has.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

LONGEST = 500  # characters of a matcher
NEVER_EMPTY = ("environment", "group", "metric")  # every series has these
FORM = re.compile(r'\s*([^\s=!~"{},]+)\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*"|[^"]*?)\s*', re.DOTALL)
SEVERAL = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*")+')
ESCAPES = {r"\"": '"', r"\\": "\\", r"\n": "\n"}
PYTHON_ONLY = re.compile(r"\(\?(?!:|P<|[imsU]+[:)])|\\[1-9]|[*+?}]\+")  # look-around, back references, possessive repeats
ANYTHING = (".*", "(.*)")


class BadMatcher(ValueError):
    """What is wrong with a matcher, and what to write instead."""


class Matcher(NamedTuple):
    """One condition on one label."""

    name: str
    operator: str
    value: str

    def __str__(self) -> str:
        value = self.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'{self.name}{self.operator}"{value}"'

    def fits(self, labels: Mapping[str, str]) -> bool:
        """Whether a series with these labels is meant."""
        return self.takes(labels.get(self.name, ""))

    def takes(self, value: str) -> bool:
        """Whether this value is meant."""
        if self.operator in ("=", "!="):
            return (value == self.value) == (self.operator == "=")
        return (_compiled(self.value).fullmatch(value) is not None) == (self.operator == "=~")


@lru_cache(4096)
def _compiled(expression: str) -> re.Pattern[str]:
    return re.compile(expression)


def parsed(texts: Sequence[str]) -> tuple[Matcher, ...]:
    """The matchers of a command, all of which have to fit; raises BadMatcher. `{a="b",c="d"}` may be several in one text."""
    single = [part for text in texts for part in _apart(text)]
    matchers = tuple(_matcher(text) for text in single)
    if not matchers:
        raise BadMatcher('is missing; name at least one, as group="shop/web"')
    _refuse_what_never_fits(matchers)
    if all(m.takes("") for m in matchers):
        raise BadMatcher(
            'would fit whatever there is; name what has to be there, as group="shop/web", or group=~".+" for all'
        )
    return matchers


def _apart(text: str) -> list[str]:
    inner = text.strip()
    if not (inner.startswith("{") and inner.endswith("}")):
        return [text]
    return [part for part in SEVERAL.findall(inner[1:-1]) if part.strip()]


def _matcher(text: str) -> Matcher:
    found = FORM.fullmatch(text)
    if len(text) > LONGEST or found is None:
        raise BadMatcher(f'{text[:60]!r} is no matcher; write label="value", or one of =~, != and !~')
    name, operator, value = found.groups()
    if value.startswith('"'):
        value = re.sub(r"\\.", lambda escape: ESCAPES.get(escape[0], escape[0]), value[1:-1], flags=re.DOTALL)
    if operator in ("=~", "!~"):
        _refuse_expression(text, value)
    return Matcher(name, operator, value)


def _refuse_expression(text: str, expression: str) -> None:
    if PYTHON_ONLY.search(expression):
        raise BadMatcher(f"{text[:60]!r} has what RE2 does not know; write it without look-around and back references")
    try:
        _compiled(expression)
    except (re.error, RecursionError, OverflowError) as error:
        raise BadMatcher(f"{text[:60]!r} is no regular expression: {error}") from None


def _refuse_what_never_fits(matchers: Sequence[Matcher]) -> None:
    """Raise BadMatcher for what no series can fit."""
    for m in matchers:
        empty = m.operator in ("=", "=~") and not m.value
        if m.name in NEVER_EMPTY and empty:
            raise BadMatcher(f"{m} fits nothing: every series has a value there")
        if m.operator == "!~" and (m.value in ANYTHING or (m.name in NEVER_EMPTY and m.value == ".+")):
            raise BadMatcher(f"{m} fits nothing")
        if m.operator == "=" and (against := [str(o) for o in matchers if o.name == m.name and not o.takes(m.value)]):
            raise BadMatcher(f"{m} and {against[0]} never fit together")
