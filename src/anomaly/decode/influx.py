"""InfluxDB line protocol, the default of Telegraf's Kafka output; one or more lines a record.

    measurement,tag=value,tag=value field=1.5,field=2i,field="text",field=t 1767225600000000000

A field is the series `measurement_field`, as in Telegraf's JSON. Booleans are 0 and 1, text is left out, integers past 2^53
lose their last digits. Comments and blank lines are skipped. A line without a time is refused: only the server that
receives it could tell the time. One bad line refuses its record.
Source: the line protocol reference of InfluxDB. A backslash escapes comma, equals sign and blank in names, quote and
backslash in text; before anything else it stands for itself. A text may hold line breaks.
"""

import re
from collections.abc import Iterator

from anomaly.decode.encodings import Parsed, Sample, register
from anomaly.decode.records import BadRecord
from anomaly.decode.telegraf_json import series_of
from anomaly.decode.text import number, utf8

# Possessive quantifiers (++, *+): no input makes these patterns try twice.
_NAME = r"(?:\\[^\n]|[^\\,=\ \n])++"
_TAG = rf"{_NAME}=(?:\\[^\n]|[^\\,=\ \n])++"
_TEXT = r'"(?:\\[\s\S]|[^"\\])*+"'
_FIELD = rf"{_NAME}=(?:{_TEXT}|[^\",\s]++)"
_LINE = re.compile(
    rf"(?P<measurement>(?:\\[^\n]|[^\\,\ \n\#])(?:\\[^\n]|[^\\,\ \n])*+)"
    rf"(?P<tags>(?:,{_TAG})*+)"
    rf"\ ++(?P<fields>{_FIELD}(?:,{_FIELD})*+)"
    r"(?:\ ++(?P<time>-?\d{1,19}))?\ *+\r?(?:\n|\Z)",
    re.ASCII,
)
_PAIR = re.compile(rf"({_NAME})=({_TEXT}|(?:\\[^\n]|[^\\,\s])++)")
_SKIP = re.compile(r"(?:[ \t\r]*+(?:\#[^\n]*+)?\n)*+[ \t\r]*+(?:\#[^\n]*+\Z)?")
_ESCAPE = re.compile(r"\\([,= ])")
_WHOLE = re.compile(r"-?\d++[iu]", re.ASCII)
_TRUTH = dict.fromkeys(("t", "T", "true", "True", "TRUE"), 1.0) | dict.fromkeys(("f", "F", "false", "False", "FALSE"), 0.0)


def parse(value: bytes) -> Iterator[Sample]:
    """The points of one record."""
    text = utf8(value)
    at = _begin(text, 0)
    while at < len(text):
        line = _LINE.match(text, at)
        try:
            if line is None:
                raise BadRecord("bad_line", repr(text[at : at + 80]))
            yield from _samples(line)
        except BadRecord as error:
            raise BadRecord(error.reason, f"line {text.count(chr(10), 0, at) + 1}: {error.detail}") from None
        at = _begin(text, line.end())


def _begin(text: str, at: int) -> int:
    """Where the next line stands that is neither blank nor a comment."""
    skipped = _SKIP.match(text, at)
    return skipped.end() if skipped else at


def _samples(line: re.Match[str]) -> Iterator[Sample]:
    if line["time"] is None:
        raise BadRecord("no_timestamp", repr(line[0][:80]))
    time = int(line["time"]) // 1_000_000
    measurement = _plain(line["measurement"])
    tags = {_plain(k): _plain(v) for k, v in _PAIR.findall(line["tags"])}
    for field, value in _PAIR.findall(line["fields"]):
        if not value.startswith('"'):
            yield Sample(series_of(measurement, _plain(field), tags), time, _value(value))


def _plain(name: str) -> str:
    return _ESCAPE.sub(r"\1", name) if "\\" in name else name


def _value(text: str) -> float:
    truth = _TRUTH.get(text)
    if truth is not None:
        return truth
    return number(text[:-1] if _WHOLE.fullmatch(text) else text)


register("influx")(lambda: Parsed(parse))
