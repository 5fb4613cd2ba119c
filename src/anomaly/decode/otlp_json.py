"""OTLP's JSON, which is not protobuf's: filled into the same messages, so that all that follows is one and the same.

Keys are lowerCamelCase (a snake_case one of a known field is refused: ignoring it would lose data without a word), other
unknown keys are ignored, 64-bit integers come as strings or numbers, enums as integers (names are accepted), ids as hex
(base64, which some exporters wrongly send, is accepted), doubles as numbers or "NaN", "Infinity", "-Infinity".
Source: OpenTelemetry Protocol specification, "JSON Protobuf Encoding".
"""

import base64
from collections.abc import Callable
from functools import cache
from typing import Any

import orjson
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from anomaly.decode.records import BadRecord

DEEPEST = 100  # levels of messages, as protobuf's own parser bounds them
IDS = frozenset({"traceId", "spanId", "parentSpanId"})  # hex; all other bytes are base64

Convert = Callable[[Any], Any]


def fill(message: Message, value: bytes, leave: frozenset[str] = frozenset()) -> None:
    """Fill `message` from JSON text, but for the keys in `leave`; BadRecord where something is not what it should be."""
    try:
        found = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        cut = "end of data" in error.msg
        raise BadRecord("truncated" if cut else "malformed", str(error)) from error
    _fill(message, found, leave, 0)


def _fill(message: Message, found: Any, leave: frozenset[str], depth: int) -> None:
    if not isinstance(found, dict):
        raise BadRecord("malformed", f"{message.DESCRIPTOR.name} must be an object, not {type(found).__name__}")
    if depth > DEEPEST:
        raise BadRecord("malformed", f"nested over {DEEPEST} deep")
    known = _fields(message.DESCRIPTOR)
    for key, held in found.items():
        field = known.get(key)
        if field is None and key in message.DESCRIPTOR.fields_by_name:
            raise BadRecord("malformed", f"{key}: keys are lowerCamelCase")
        if field is not None and held is not None and key not in leave:
            try:
                _put(message, field, held, leave, depth)
            except BadRecord:
                raise
            except (ValueError, TypeError, OverflowError) as error:  # what the message will not hold
                raise BadRecord("malformed", f"{key}: {error}") from error


@cache
def _fields(descriptor: Descriptor) -> dict[str, FieldDescriptor]:
    return {field.json_name: field for field in descriptor.fields}


def _put(message: Message, field: FieldDescriptor, held: Any, leave: frozenset[str], depth: int) -> None:
    if field.is_repeated and not isinstance(held, list):
        raise ValueError("must be a list")
    if field.message_type is None:
        convert = _converter(field)
        if field.is_repeated:
            getattr(message, field.name).extend([convert(item) for item in held])
        else:
            setattr(message, field.name, convert(held))
        return
    for item in held if field.is_repeated else (held,):
        inner = getattr(message, field.name)
        if field.is_repeated:
            inner = inner.add()
        else:
            inner.SetInParent()
        _fill(inner, item, leave, depth + 1)


def _converter(field: FieldDescriptor) -> Convert:
    if field.enum_type is not None:
        values = field.enum_type.values_by_name
        return lambda held: values[held].number if isinstance(held, str) and held in values else _integer(held)
    if field.cpp_type in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return _double
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return _boolean
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _id if field.json_name in IDS else _base64
    return _string if field.type == FieldDescriptor.TYPE_STRING else _integer


def _integer(held: Any) -> int:
    if isinstance(held, bool) or (isinstance(held, float) and not held.is_integer()):
        raise ValueError(f"{held!r} is not an integer")
    if isinstance(held, str) and not held.removeprefix("-").isdecimal():
        raise ValueError(f"{held!r} is not an integer")
    return int(held)


def _double(held: Any) -> float:
    if isinstance(held, bool):
        raise ValueError(f"{held!r} is not a number")
    return float(held)


def _boolean(held: Any) -> bool:
    if not isinstance(held, bool):
        raise ValueError(f"{held!r} is neither true nor false")
    return held


def _string(held: Any) -> str:
    if not isinstance(held, str):
        raise ValueError(f"{held!r} is not a string")
    return held


def _id(held: Any) -> bytes:
    """An id in hex; in base64 where it cannot be hex, as a plain JSON writer of protobuf makes it."""
    try:
        return bytes.fromhex(_string(held))
    except ValueError:
        return _base64(held)


def _base64(held: Any) -> bytes:
    return base64.b64decode(_string(held), validate=True)
