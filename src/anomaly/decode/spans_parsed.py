"""Spans given by a parser, one by one, as columns: plain, complete, an object per span."""

from collections.abc import Callable, Iterable, Sequence
from functools import cache

import numpy as np
import orjson
from numpy.typing import NDArray

from anomaly.decode.records import PADDING, BadRecord, DeadLetter, Records
from anomaly.decode.spans import Span, Spans, duration_of, time_of
from anomaly.decode.wire import hash_bytes

Parse = Callable[[bytes], Iterable[Span]]


class ParsedSpans:
    """An encoding of traces given by a parser. Raise BadRecord for what cannot be read."""

    def __init__(self, parse: Parse, seed: int) -> None:
        self.parse, self.seed = parse, seed

    def spans(self, records: Records) -> tuple[Spans, list[DeadLetter]]:
        """The spans of a block, and the records that cannot be read."""
        return parsed(self.parse, records, self.seed, np.arange(len(records)))


def parsed(parse: Parse, records: Records, seed: int, which: NDArray[np.intp]) -> tuple[Spans, list[DeadLetter]]:
    """Parse the records at `which`; one that cannot be read gives no span at all."""
    found: list[Span] = []
    record: list[int] = []
    dead: list[DeadLetter] = []
    for i in which.tolist():
        try:
            spans = list(parse(records.value(i))) if records.value_len[i] > 0 else []
        except BadRecord as error:
            dead.append(records.dead(i, error))
            continue
        found += spans
        record += [i] * len(spans)
    return columns(found, record, seed), dead


def columns(found: Sequence[Span], record: Sequence[int], seed: int) -> Spans:
    """Spans as columns, each with its record."""
    keys = [orjson.dumps(s.resource, option=orjson.OPT_SORT_KEYS) for s in found]
    numbers = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    first = {key: s.resource for key, s in zip(reversed(keys), reversed(found), strict=True)}
    names = [s.operation.encode() for s in found]
    size = np.array([len(name) for name in names], np.int64)
    hashed = cache(lambda text: _hash(text, seed))
    wide = {name: np.array([getattr(s, name) for s in found], np.uint64) for name in ("span", "parent", "start", "end")}
    start, end = wide["start"].view(np.int64), wide["end"].view(np.int64)
    return Spans(
        record=np.array(record, np.int32),
        resource=np.array([numbers[key] for key in keys], np.int32),
        name=np.array([hashed(name) for name in names], np.uint64),
        name_at=np.cumsum(size) - size,
        name_end=np.cumsum(size),
        trace=np.array([s.trace[0] for s in found], np.uint64),
        trace_low=np.array([s.trace[1] for s in found], np.uint64),
        span=wide["span"],
        parent=wide["parent"],
        kind=np.array([s.kind for s in found], np.uint8),
        status=np.array([s.status for s in found], np.uint8),
        start=start,
        duration=duration_of(start, end),
        time=time_of(start, end),
        sender=np.array([hashed(key) for key in numbers], np.uint64),
        told=[first[key] for key in numbers].__getitem__,
        text=np.frombuffer(b"".join(names) + bytes(PADDING), np.uint8),
    )


def hashed_attributes(attributes: dict[str, str], seed: int) -> int:
    """The hash of a resource that was parsed."""
    return _hash(orjson.dumps(attributes, option=orjson.OPT_SORT_KEYS), seed)


def _hash(text: bytes, seed: int) -> int:
    buffer = np.frombuffer(text + bytes(PADDING), np.uint8)
    return int(hash_bytes(buffer, 0, len(text), np.uint64(seed)))
