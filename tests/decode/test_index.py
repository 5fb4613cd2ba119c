"""The index of rows by a key that stands in them, against a dict."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly.decode.index import MISSING, Index

# Few distinct low bits, so that probes collide.
KEYS = st.integers(2, 2**64 - 1) | st.integers(2, 40).map(lambda n: n << 32)


def column(keys: list[int]) -> np.ndarray:
    return np.array(keys, np.uint64)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sets(KEYS, max_size=400), max_size=6), st.lists(KEYS, max_size=50))
def test_an_index_equals_a_dict_whatever_is_entered(batches: list[set[int]], strangers: list[int]):
    index, rows = Index(), dict[int, int]()
    for batch in batches:
        new = sorted(batch - rows.keys())
        rows |= {key: len(rows) + i for i, key in enumerate(new)}
        index.reserve(len(new), column(list(rows)))
        index.enter_all(np.arange(len(rows) - len(new), len(rows), dtype=np.int32), column(list(rows)))
    wanted = [*rows, *strangers]
    assert index.find(column(wanted), column(list(rows))).tolist() == [rows.get(key, MISSING) for key in wanted]


def test_an_index_that_has_grown_still_finds_everything():
    keys = np.random.default_rng(1).integers(1, 2**63, 20_000).astype(np.uint64)
    index = Index()
    for row in range(20_000):
        index.enter(row, keys)
    np.testing.assert_array_equal(index.find(keys, keys), np.arange(20_000))


def test_a_key_of_zero_is_that_of_a_free_row_and_stands_as_one():
    index, keys = Index(), column([0, 1])
    index.build(2, keys)
    assert index.find(column([0, 1]), keys).tolist() == [1, 1]


@settings(max_examples=40, deadline=None)
@given(st.sets(KEYS, max_size=200), st.sets(st.integers(0, 199)))
def test_keys_of_rows_that_are_set_free_are_gone_and_no_others(held: set[int], gone: set[int]):
    wanted = column(sorted(held))
    keys = np.where(np.isin(np.arange(wanted.size), list(gone)), 0, wanted).astype(np.uint64)
    index = Index()
    index.build(keys.size, keys)
    assert index.find(wanted, keys).tolist() == [MISSING if row in gone else row for row in range(keys.size)]
