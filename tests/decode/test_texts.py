"""Texts in segments, against a list."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly.decode.texts import SEGMENT, Texts

BATCHES = st.lists(
    st.lists(st.binary(max_size=20) | st.integers(1, SEGMENT).map(lambda n: b"x" * n), max_size=5), max_size=6
)


@settings(max_examples=40, deadline=None)
@given(BATCHES, st.randoms(use_true_random=False))
def test_texts_are_given_back_whatever_is_added_and_let_go(batches, random):
    texts, held = Texts(), list[bytes]()
    places = np.zeros(0, np.int64)
    for batch in batches:
        places, held = np.concatenate([places, texts.add(batch)]), held + batch
        kept = np.array([i for i in range(len(held)) if random.random() < 0.7], np.int64)
        held = [held[i] for i in kept]
        places = texts.only(places[kept], np.array([len(t) for t in held], np.int64))
        assert [texts.get(p, len(t)) for p, t in zip(places.tolist(), held, strict=True)] == held
        backwards = np.arange(len(held))[::-1]
        size = np.array([len(t) for t in held], np.int64)
        assert list(texts.strung(places[backwards], size[backwards])) == held[::-1]


def test_what_was_let_go_takes_no_room():
    texts = Texts()
    place = texts.add([b"x" * SEGMENT for _ in range(8)])
    texts.only(place[:1], np.array([SEGMENT]))
    assert texts.nbytes == SEGMENT
