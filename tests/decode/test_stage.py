"""The decode stage, with an encoding whose points are written as plain text: `group metric time value`, a line each."""

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import pytest

from anomaly.config.settings import IdentitySettings, Limits, Settings, SourceSettings
from anomaly.decode.catalog import Description
from anomaly.decode.encodings import ENCODINGS, Parsed, Sample
from anomaly.decode.points import Kind
from anomaly.decode.records import Records
from anomaly.decode.split import ANNOUNCE_EVERY
from anomaly.decode.stage import Decode

NOW = 1_700_000_000_000


def parse(value: bytes) -> list[Sample]:
    found = []
    for line in value.decode().splitlines():
        group, metric, time, number = line.split()
        series = Description(metric, "", {"service.name": group}, Kind.GAUGE)
        found.append(Sample(series, int(time), float(number)))
    return found


@pytest.fixture(autouse=True)
def _plain_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENCODINGS, "plain", lambda: Parsed(parse))


SOURCE = SourceSettings(topic="metrics", encoding="plain", lateness=5.0)


def records(*lines: str, partition: int = 0, offset: int = 0) -> Records:
    return Records.of([line.encode() for line in lines], "metrics", partition, offset, NOW)


def test_all_series_of_a_group_meet_on_one_partition():
    lines = [f"g{i % 7} m{i} {NOW} 1" for i in range(100)]
    blocks, _ = Decode(Settings(), 4).blocks(SOURCE, records(*lines))
    seen: dict[str, set[int]] = {}
    for partition, block in blocks:
        for series in block.series:
            seen.setdefault(series.group, set()).add(partition)
    assert sorted(seen) == [f"g{i}" for i in range(7)]
    assert all(len(partitions) == 1 for partitions in seen.values())
    assert sum(len(block.points) for _, block in blocks) == 100


def test_every_partition_hears_how_far_the_source_got_even_without_a_point():
    blocks, _ = Decode(Settings(), 3).blocks(SOURCE, records(f"a m {NOW} 1", f"a m {NOW - 50} 1"))
    assert [p for p, _ in blocks] == [0, 1, 2]
    assert {block.heard for _, block in blocks} == {NOW}
    assert {block.lateness for _, block in blocks} == {5_000}


def announcements(stage: Decode, times: Iterable[int]) -> list[int]:
    """At which of these times a series that has a point at each of them is announced."""
    return [t for t in times if len(stage.blocks(SOURCE, records(f"a m {t} 1"))[0][0][1].series)]


def test_a_series_is_announced_when_new_and_again_as_often_as_promised():
    """The first time after half of the time at the least, every time after the whole of it at the most."""
    at = announcements(Decode(Settings(), 1), range(NOW, NOW + 4 * ANNOUNCE_EVERY, 1000))
    assert at[0] == NOW
    assert all(ANNOUNCE_EVERY / 2 <= b - a <= ANNOUNCE_EVERY for a, b in pairwise(at))
    assert [b - a for a, b in pairwise(at[1:])] == [ANNOUNCE_EVERY] * (len(at) - 2)


def test_where_the_receiver_is_known_to_have_it_a_series_is_announced_once():
    everything = Decode(Settings(), 1, lambda series: np.ones(series.size, np.bool_))
    assert announcements(everything, range(NOW, NOW + 3 * ANNOUNCE_EVERY, 10_000)) == [NOW]


def test_what_the_receiver_has_let_go_is_announced_with_the_point_with_which_it_comes_back():
    """And what else is in the block is announced as if nothing had happened."""
    known: set[int] = set()
    stage = Decode(Settings(), 1, lambda series: np.isin(series, np.array(sorted(known), np.uint64)))
    ((_, first),), _ = stage.blocks(SOURCE, records(f"a m {NOW} 1", f"b m {NOW} 1"))
    known |= set(first.series.hash.tolist()[:1])
    back = NOW + ANNOUNCE_EVERY
    ((_, block),), _ = stage.blocks(SOURCE, records(f"a m {back} 2", f"c m {back} 2", f"b m {back} 2"))
    assert block.points.value.tolist() == [2.0, 2.0, 2.0]
    assert {s.group for s in block.series} == {"a", "b", "c"} - {s.group for s in first.series if s.hash in known}


def test_series_that_came_together_are_not_announced_again_together():
    stage, most = Decode(Settings(), 1), 0
    for t in range(NOW, NOW + 2 * ANNOUNCE_EVERY, 10_000):
        lines = "\n".join(f"a m{i} {t} 1" for i in range(100))
        n = len(stage.blocks(SOURCE, records(lines))[0][0][1].series)
        most = max(most, n if t > NOW else 0)
    assert most < 30


def test_a_point_from_the_future_is_set_aside_with_its_record_and_the_others_go_on():
    far = NOW + 601_000
    blocks, dead = Decode(Settings(), 1).blocks(
        SOURCE, records(f"a m {NOW} 1\na m {far} 2\na n {far} 2", f"a m {NOW + 1} 3")
    )
    assert blocks[0][1].points.value.tolist() == [1.0, 3.0]
    assert blocks[0][1].heard == NOW + 1
    assert [(d.reason, d.offset, d.detail) for d in dead] == [("future_timestamp", 0, "2 of its points")]


@pytest.mark.parametrize("time", [0, -5, 1_400_000_000])
def test_a_point_without_a_believable_time_is_set_aside(time: int):
    blocks, dead = Decode(Settings(), 1).blocks(SOURCE, records(f"a m {time} 1"))
    assert (len(blocks[0][1].points), [d.reason for d in dead]) == (0, ["bad_timestamp"])


def test_a_record_over_the_limit_is_set_aside_undecoded_with_its_bytes():
    stage = Decode(Settings(limits=Limits(record_bytes=40)), 1)
    long = "\n".join([f"a m {NOW} 1"] * 5)
    blocks, dead = stage.blocks(SOURCE, records(long, f"a m {NOW} 7"))
    assert blocks[0][1].points.value.tolist() == [7.0]
    assert [(d.reason, d.value.decode()) for d in dead] == [("too_large", long)]


def test_series_past_the_limit_are_counted_and_known_ones_go_on():
    stage = Decode(Settings(limits=Limits(series=2)), 1)
    blocks, _ = stage.blocks(SOURCE, records(f"a m0 {NOW} 0", f"a m1 {NOW} 1", f"a m2 {NOW} 2", f"a m1 {NOW} 3"))
    assert (blocks[0][1].points.value.tolist(), stage.overflow) == ([0.0, 1.0, 3.0], 1)


def test_heard_never_goes_back_and_is_kept_per_input_partition():
    stage = Decode(Settings(), 1)
    stage.blocks(SOURCE, records(f"a m {NOW} 1"))
    assert stage.blocks(SOURCE, records(f"a m {NOW - 9} 1"))[0][0][1].heard == NOW
    assert stage.blocks(SOURCE, records(f"a m {NOW - 9} 1", partition=1))[0][0][1].heard == NOW - 9


def test_new_bounds_of_a_histogram_are_announced_at_once():
    bounds = iter([(1.0, 2.0), (1.0, 3.0)])

    def parse_histogram(value: bytes) -> list[Sample]:
        series = Description("h", "s", {"service.name": "a"}, Kind.HISTOGRAM, next(bounds))
        return [Sample(series, int(value), 1.0, buckets=(1.0, 0.0, 0.0), observations=1.0)]

    ENCODINGS["plain"] = lambda: Parsed(parse_histogram)
    stage = Decode(Settings(identity=IdentitySettings(seed=3)), 1)
    blocks = [stage.blocks(SOURCE, records(str(NOW + i)))[0][0][1] for i in range(2)]
    assert [s.bounds for b in blocks for s in b.series] == [(1.0, 2.0), (1.0, 3.0)]
    assert len(np.unique(np.concatenate([b.points.series for b in blocks]))) == 1
