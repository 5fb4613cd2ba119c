"""The catalog of series met."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly.config.settings import IdentitySettings
from anomaly.decode.catalog import IDLE, Catalog, Description
from anomaly.decode.identity import Identity
from anomaly.decode.index import MISSING
from anomaly.decode.points import Kind


def catalog(limit: int = 1000) -> Catalog:
    return Catalog(Identity(IdentitySettings()), limit)


def described(name: str, **more: str) -> Description:
    return Description(name, "", {"job": "a"} | more, Kind.GAUGE)


def wire(*keys: int) -> np.ndarray:
    return np.array(keys, np.uint64)


def test_rows_are_given_in_order_of_first_sight_and_each_key_is_described_once():
    known, asked = catalog(), []

    def describe(i: int) -> Description:
        asked.append(i)
        return described(f"m{i}")

    assert known.rows(wire(9, 5, 9, 7), describe).tolist() == [0, 1, 0, 2]
    assert known.rows(wire(7, 9), describe).tolist() == [2, 0]
    assert asked == [0, 1, 3]
    assert [s.metric for s in known.series] == ["m0", "m1", "m3"]


def test_several_wire_keys_may_lead_to_one_series():
    known = catalog()
    rows = known.rows(wire(1, 2), lambda i: described("m", **{"os.type": str(i)}))
    again = known.row(b"text", lambda: described("m"))
    assert len({int(known.hash[r]) for r in [*rows, again]}) == 1


def test_a_canonical_hash_finds_the_row_last_described():
    known = catalog()
    known.rows(wire(1, 2), lambda i: described("m", **{"os.type": str(i)}))
    assert known.rows_of(known.hash[:1]).tolist() == [1]


def test_past_the_limit_series_are_counted_and_known_ones_go_on():
    known = catalog(limit=2)
    assert known.rows(wire(1, 2, 3), lambda i: described(f"m{i}")).tolist() == [0, 1, MISSING]
    assert known.row(b"x", lambda: described("n")) == MISSING
    assert known.rows(wire(2), lambda i: described("never asked")).tolist() == [1]
    assert (len(known.series), known.overflow) == (2, 2)


def test_the_columns_hold_what_the_series_hold_however_many_there_are():
    known = catalog(limit=5000)
    known.rows(
        np.arange(1, 3001, dtype=np.uint64), lambda i: Description("m", "", {"job": str(i % 9), "k": str(i)}, Kind.GAUGE)
    )
    assert known.hash[:3000].tolist() == [s.hash for s in known.series]
    assert known.group[:3000].tolist() == [s.group_hash for s in known.series]
    assert known.rows_of(known.hash[:3000]).tolist() == list(range(3000))


def test_a_stale_marker_without_bounds_leaves_a_histogram_its_bounds():
    known = catalog()
    described_with = [Description("h", "s", {"job": "a"}, Kind.HISTOGRAM, bounds) for bounds in ((1.0, 2.0), ())]
    known.rows(wire(1, 2), lambda i: described_with[i])
    row = known.rows_of(known.hash[1:2])[0]
    assert known.series[row].bounds == (1.0, 2.0)


def test_a_series_costs_less_than_190_bytes_with_a_hundred_of_text():
    known = catalog(limit=1 << 17)
    n = known.limit * 15 // 16
    known.rows(np.arange(1, n + 1, dtype=np.uint64), lambda i: described("http.server.duration", route=f"/v{i}/{'x' * 45}"))
    assert 90 < np.mean([len(known.text(row)) for row in range(1000)]) < 110
    assert known.nbytes / n < 190


def test_at_the_limit_the_series_announced_longest_ago_make_room_if_they_are_idle():
    known = catalog(limit=3)
    known.rows(wire(1, 2, 3), lambda i: described(f"m{i}"))
    known.columns["until"][:3] = [20, 10, 5 * IDLE]
    assert known.recycle(3 * IDLE) == 1  # the part of the rows that goes at once is less than one
    assert known.rows(wire(1, 3, 4), lambda i: described("new")).tolist() == [0, 2, 1]
    assert [s.metric for s in known.series] == ["m0", "new", "m2"]
    assert known.recycle(3 * IDLE) == 0  # not again at the same time


def test_nothing_is_recycled_below_the_limit_or_while_it_is_heard():
    known = catalog(limit=2)
    known.rows(wire(1), lambda i: described(f"m{i}"))
    assert known.recycle(10 * IDLE) == 0
    known.rows(wire(2), lambda i: described(f"n{i}"))
    known.columns["until"][:2] = 10 * IDLE
    assert known.recycle(10 * IDLE) == 0


def test_a_key_whose_row_went_to_another_series_is_a_stranger():
    known = catalog()
    known.rows(wire(1, 2), lambda i: described(f"m{i}"))
    epoch = known.epoch
    known.forget(np.array([0], np.int32))
    assert known.rows(wire(9), lambda i: described("n")).tolist() == [0]
    assert known.rows(wire(1, 2), lambda i: described("again")).tolist() == [2, 1]
    assert (known.columns["since"][:3] > epoch).tolist() == [True, False, False]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.lists(st.integers(1, 60), max_size=40), st.lists(st.integers(0, 59))), max_size=8))
def test_a_catalog_equals_a_dict_whatever_comes_and_goes(steps: list[tuple[list[int], list[int]]]):
    """Key k is described as series k // 2, so that two keys lead to each; rows that are free are forgotten at random."""
    known, model = catalog(), dict[int, int]()
    for keys, gone in steps:
        rows = known.rows(wire(*keys), lambda i, keys=keys: described(f"m{keys[i] // 2}"))  # type: ignore[misc]
        for key, row in zip(keys, rows.tolist(), strict=True):
            assert model.setdefault(key, row) == row
            assert known.series[row].metric == f"m{key // 2}"
        hashes = known.hash[rows]
        np.testing.assert_array_equal(known.hash[known.rows_of(hashes)], hashes)
        free = np.array(sorted({row for row in model.values() if row in gone}), np.int32)
        known.forget(free)
        model = {key: row for key, row in model.items() if row not in gone}
        assert known.held == len(model)


def test_where_texts_are_not_kept_each_is_given_once():
    known = Catalog(Identity(IdentitySettings()), keeps=False)
    rows = known.rows(wire(1, 2), lambda i: described(f"m{i}"))
    assert [series.metric for series in known.announced(rows)] == ["m0", "m1"]
    assert list(known.announced(rows)) == []


def test_two_senders_of_one_series_are_told_apart_and_the_only_one_is_nobody():
    known = catalog()
    replicas = [{}, {"prometheus_replica": "a"}, {"prometheus_replica": "b"}, {"__replica__": "a"}]
    rows = known.rows(wire(1, 2, 3, 4), lambda i: described("m", **replicas[i]))
    assert len(set(known.hash[rows].tolist())) == 1
    assert (known.writer[rows[0]], len(set(known.writer[rows].tolist()))) == (0, 4)


def test_a_writer_is_a_matter_of_its_labels_alone():
    """Not of who was met before: whoever decodes a record again gives the same points."""
    one, other = catalog(), catalog()
    replicas = [{"prometheus_replica": "a"}, {"prometheus_replica": "b"}]
    one.rows(wire(1, 2), lambda i: described("m", **replicas[i]))
    other.rows(wire(2, 1), lambda i: described("m", **replicas[1 - i]))
    assert one.writer[:2].tolist() == other.writer[:2].tolist()[::-1]


def test_a_catalog_whose_rows_were_kept_describes_nobody_again():
    known = Catalog(Identity(IdentitySettings()), keeps=False)
    rows = known.rows(wire(0, 1 << 40, 3, 4), lambda i: described(f"m{i}"))
    known.forget(rows[1:2])
    kept = known.table.gather(1)

    other = Catalog(Identity(IdentitySettings()), keeps=False)
    other.table.put(1, kept, known.table.layout())
    other.table.settle(known.table.rest())
    other.settle()
    again = other.rows(wire(0, 3, 4), lambda i: described("asked"))
    assert again.tolist() == [0, 2, 3]
    np.testing.assert_array_equal(other.hash[again], known.hash[again])
    np.testing.assert_array_equal(other.rows_of(known.hash[again]), again)
    assert other.rows(wire(1 << 40), lambda i: described("m1")).tolist() == [1]


def test_what_was_kept_under_other_rules_or_by_another_version_has_another_key():
    def key(**said: object) -> str:
        return Catalog(Identity(IdentitySettings(**said), 5)).key  # type: ignore[arg-type]

    assert key() == key()
    assert len({key(), key(ignore=("os.*",)), Catalog(Identity(IdentitySettings(), 6)).key}) == 3
