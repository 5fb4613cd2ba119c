"""Announced series: which of them hold a word, and which are taken."""

import numpy as np

from anomaly.decode.block import Announced
from anomaly.decode.texts import Strung

TEXTS = [b"", b"a change", b"chan", b"ge of it", b"no", b"change change", b"chang"]


def test_a_word_is_found_in_the_texts_that_hold_it_and_not_across_two():
    """As `in` says of each; b"chan" and b"ge" stand side by side."""
    for words in ((b"change",), (b"a",), (b"no", b"of"), (b"missing",), (b"changechange",)):
        assert Strung.of(TEXTS).holding(*words) == [i for i, t in enumerate(TEXTS) if any(w in t for w in words)]
    assert Strung.of([]).holding(b"change") == []


def test_what_is_taken_and_what_is_left_are_the_series_themselves():
    new = Announced(np.arange(7, dtype=np.uint64), TEXTS)
    some, others = new.taken(np.array([1, 5])), new.without([0, 1, 5])
    assert (some.hash.tolist(), list(some.text)) == ([1, 5], [TEXTS[1], TEXTS[5]])
    assert (others.hash.tolist(), list(others.text)) == ([2, 3, 4, 6], [TEXTS[i] for i in (2, 3, 4, 6)])
    assert new.without([]) is new
