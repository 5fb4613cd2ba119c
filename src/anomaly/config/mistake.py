"""What is wrong with a configuration, in one line each: where, which value, why, and what to write instead."""

import re
from difflib import get_close_matches
from typing import NamedTuple

import orjson

CREDENTIALS = re.compile(r"//[^/@\s]*@")


class Mistake(NamedTuple):
    """`origin` is the file, the environment variable or the option; `path` the key (`receivers[0].webhook.url`)."""

    origin: str
    path: str
    text: str

    def __str__(self) -> str:
        return ": ".join(part for part in self if part)


class ConfigError(Exception):
    """The start stops here, with every mistake that was found."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__("\n".join(map(str, mistakes)))
        self.mistakes = mistakes


def shown(value: object) -> str:
    """A value as it may be repeated to people: short, on one line, without the credentials of a URL."""
    text = CREDENTIALS.sub("//***@", orjson.dumps(value, default=str).decode())
    return text if len(text) <= 60 else text[:57] + "…"


def one_of(wrong: str, known: list[str]) -> str:
    """The remedy for a word that is not known."""
    close = get_close_matches(wrong, known, 1)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
