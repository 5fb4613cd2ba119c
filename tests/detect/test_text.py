"""The text of a series is read by compiled code where `identity.pack` wrote it."""

from itertools import pairwise

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly.decode.identity import Series, pack
from anomaly.decode.points import Kind
from anomaly.decode.wire import hash_bytes
from anomaly.detect.text import END, buffer, from_text, key_of, named, outline, place

WORDS = st.text(max_size=400)
PAIRS = st.lists(st.tuples(WORDS, WORDS), max_size=20).map(tuple)
NUMBERS = st.integers(0, (1 << 64) - 1)
SERIES = st.builds(
    Series, NUMBERS, NUMBERS, WORDS, WORDS, WORDS, WORDS, PAIRS, PAIRS, st.sampled_from(Kind),
    st.lists(st.floats(allow_nan=False) | st.integers(0, 9).map(float), max_size=20).map(tuple),
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(SERIES)
def test_its_parts_are_those_that_were_packed(s: Series):
    """Every part decodes to what it was, and the group's hash is found."""
    text = pack(s)
    parts = np.zeros(10, np.int64)
    assert outline(buffer(text), 0, len(text), parts)
    pieces = [text[a:b] for a, b in pairwise(parts.tolist())]

    assert [from_text(p) for p in pieces[:4]] == [s.environment, s.group, s.metric, s.unit]
    assert msgspec.msgpack.decode(pieces[4], type=tuple[tuple[str, str], ...]) == s.labels
    assert msgspec.msgpack.decode(pieces[5], type=tuple[tuple[str, str], ...]) == s.instance
    assert int(place(buffer(text), parts)) == s.group_hash
    assert parts[END] == len(text)


@settings(max_examples=300, deadline=None)
@given(SERIES.map(pack), st.integers(0, 200), st.binary(max_size=4))
def test_what_was_not_packed_is_refused_and_never_read_beyond(text: bytes, at: int, noise: bytes):
    """Cut off, or with other bytes in the middle: the reader stays within the text."""
    damaged = text[: at % len(text)] + noise
    parts = np.zeros(10, np.int64)
    found = outline(buffer(damaged), 0, len(damaged), parts)

    assert not found or parts[END] == len(damaged)
    assert not outline(buffer(text), 0, len(text) - 1, parts)


def test_labels_of_other_names_do_not_change_the_shape():
    """Nor does what stands beside them."""
    names = np.array([hash_of("zone")], np.uint64)

    def shape(*labels: tuple[str, str]) -> int:
        text = pack(Series(1, 2, "prod", "shop", "m", "s", labels, (), Kind.GAUGE))
        parts = np.zeros(10, np.int64)
        assert outline(buffer(text), 0, len(text), parts)
        return int(named(buffer(text), parts[4], names, np.uint64(5)))

    assert shape(("pod", "a"), ("zone", "x")) == shape(("pod", "b"), ("zone", "x")) == shape(("zone", "x"))
    assert shape(("zone", "x")) != shape(("zone", "y"))
    assert shape(("pod", "a")) == shape() != shape(("zone", ""))


def hash_of(name: str) -> int:
    """Of a label's name, as it stands in a text."""
    text = msgspec.msgpack.encode(name)
    return int(hash_bytes(buffer(text), 0, len(text), np.uint64(5)))


def test_a_key_is_the_same_in_every_process_and_never_zero():
    """It is written into the state."""
    assert key_of(7, "a", ("b", None), 3.5) == key_of(7, "a", ("b", None), 3.5) != key_of(8, "a", ("b", None), 3.5)
    assert key_of(0) != 0
