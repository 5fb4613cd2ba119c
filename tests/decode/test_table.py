"""The table of rows by fingerprint, against a dict."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly.decode.table import MISSING, Table

# Few distinct low bits, so that probes collide; 0 and 1 are the pair that shares a slot by design.
FINGERPRINTS = st.integers(2, 2**64 - 1) | st.integers(2, 40).map(lambda n: n << 32)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(FINGERPRINTS, max_size=400), max_size=6), st.lists(FINGERPRINTS, max_size=50))
def test_a_table_equals_a_dict_whatever_is_inserted(batches: list[list[int]], strangers: list[int]):
    table, rows = Table(), dict[int, int]()
    for batch in batches:
        row = np.arange(len(rows), len(rows) + len(batch), dtype=np.int32)
        table.insert(np.array(batch, np.uint64), row)
        rows |= dict(zip(batch, row.tolist(), strict=True))
    wanted = [*rows, *strangers]
    assert table.find(np.array(wanted, np.uint64)).tolist() == [rows.get(f, MISSING) for f in wanted]


def test_a_table_that_has_grown_still_finds_everything():
    fingerprints = np.random.default_rng(1).integers(1, 2**63, 20_000).astype(np.uint64)
    table = Table()
    for i in range(0, 20_000, 777):
        part = fingerprints[i : i + 777]
        table.insert(part, np.arange(i, i + part.size, dtype=np.int32))
    np.testing.assert_array_equal(table.find(fingerprints), np.arange(20_000))


def test_a_fingerprint_of_zero_is_a_fingerprint():
    table = Table()
    assert table.find(np.zeros(1, np.uint64)).tolist() == [MISSING]
    table.insert(np.zeros(1, np.uint64), np.array([7], np.int32))
    assert table.find(np.zeros(1, np.uint64)).tolist() == [7]


@settings(max_examples=40, deadline=None)
@given(st.sets(FINGERPRINTS, max_size=200), st.sets(st.integers(0, 199)))
def test_fingerprints_of_rows_that_are_gone_are_gone_and_no_others(fingerprints: set[int], gone: set[int]):
    keys = np.array(sorted(fingerprints), np.uint64)
    table = Table()
    table.insert(keys, np.arange(keys.size, dtype=np.int32))
    table.drop(np.isin(np.arange(150), list(gone)))
    assert table.find(keys).tolist() == [MISSING if row in gone and row < 150 else row for row in range(keys.size)]
