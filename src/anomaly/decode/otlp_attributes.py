"""OTLP attributes as text, the form in which identity wants them, however the sender typed them."""

import base64
from collections.abc import Iterable
from typing import Any

import orjson


def attributes(pairs: Iterable[Any]) -> dict[str, str]:
    """KeyValue messages as a mapping. Of a key that comes twice, which OTLP forbids, the greatest text: order is nothing."""
    return dict(sorted((pair.key, text(pair.value)) for pair in pairs))


def text(value: Any) -> str:
    """An AnyValue as text: strings as they are, `true`, `12`, `0.5`, bytes in base64, lists and maps as compact JSON."""
    if value.HasField("string_value"):
        return str(value.string_value)
    held = plain(value)
    if isinstance(held, str):
        return held
    if held is None:
        return ""
    if isinstance(held, float):
        return repr(held)
    return orjson.dumps(held, option=orjson.OPT_SORT_KEYS).decode()


def plain(value: Any) -> Any:
    """An AnyValue as what JSON can write. The parser bounds the nesting (protobuf: 100)."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [plain(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return {pair.key: plain(pair.value) for pair in value.kvlist_value.values}
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value).decode()
    return None if kind is None else getattr(value, kind)
