"""The catalog of series met."""

import numpy as np

from anomaly.config.settings import IdentitySettings
from anomaly.decode.catalog import Catalog, Description
from anomaly.decode.identity import Identity
from anomaly.decode.points import Kind
from anomaly.decode.table import MISSING


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
    again = known.row("text", lambda: described("m"))
    assert len({int(known.hash[r]) for r in [*rows, again]}) == 1


def test_a_canonical_hash_finds_the_row_last_described():
    known = catalog()
    known.rows(wire(1, 2), lambda i: described("m", **{"os.type": str(i)}))
    assert known.rows_of(known.hash[:1]).tolist() == [1]


def test_past_the_limit_series_are_counted_and_known_ones_go_on():
    known = catalog(limit=2)
    assert known.rows(wire(1, 2, 3), lambda i: described(f"m{i}")).tolist() == [0, 1, MISSING]
    assert known.row("x", lambda: described("n")) == MISSING
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
