"""Times, numbers and JSON as senders write them; whatever cannot be read is a BadRecord with its reason."""

from datetime import UTC, datetime, timedelta
from typing import TypeVar

import msgspec

from anomaly.decode.records import BadRecord

T = TypeVar("T")

_EPOCH = datetime.fromtimestamp(0, UTC)
_MS = timedelta(milliseconds=1)

# How large a number of seconds, of milliseconds and of microseconds since the epoch may be before it is taken for the
# next finer unit: the year 5138 for each. Read the other way, a number is only mistaken for a time before 1973-03-03.
_SECONDS, _MILLIS, _MICROS = 1e11, 1e14, 1e17
_NANOS = float(1 << 63)


def utf8(value: bytes) -> str:
    """Bytes as text."""
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise BadRecord("bad_utf8", str(error)) from None


def number(text: str) -> float:
    """A number: as in JSON, or with NaN and Inf in any case and sign. Blanks, `_` and foreign digits are refused."""
    try:
        if text.isascii() and "_" not in text and text == text.strip():
            return float(text)
    except ValueError:
        pass
    raise BadRecord("bad_number", repr(text[:80]))


def real(value: int | float) -> float:
    """A number as a double; JSON has integers of any length."""
    try:
        return float(value)
    except OverflowError:
        raise BadRecord("bad_number", "past the range of a double") from None


def rfc3339(text: str) -> int:
    """Milliseconds since the epoch; digits past the milliseconds are cut off, and a time without a zone is UTC."""
    try:
        moment = datetime.fromisoformat(text)
        return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // _MS
    except (ValueError, OverflowError):
        raise BadRecord("bad_timestamp", repr(text[:80])) from None


def epoch(since: int | float) -> int:
    """Milliseconds from a number of seconds, milliseconds, microseconds or nanoseconds since the epoch, by its size."""
    size = abs(since)
    if size < _SECONDS:
        return round(since * 1000)
    if size < _MILLIS:
        return int(since // 1)
    if size < _NANOS:
        return int(since // (1_000 if size < _MICROS else 1_000_000))
    raise BadRecord("bad_timestamp", str(since)[:80])


def instant(text: str) -> int:
    """Milliseconds since the epoch of a time that is written out or is a number."""
    if text[4:5] == "-" and text[:4].isdecimal():
        return rfc3339(text)
    try:
        return epoch(number(text))
    except BadRecord:
        raise BadRecord("bad_timestamp", repr(text[:80])) from None


def read_json(decoder: "msgspec.json.Decoder[T]", value: bytes) -> T:
    """One JSON message of the decoder's type."""
    try:
        return decoder.decode(value)
    except UnicodeDecodeError as error:
        raise BadRecord("bad_utf8", str(error)) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRecord("bad_json", str(error)) from None
