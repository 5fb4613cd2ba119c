"""Giant groups: spread over the partitions by metric, and heard on all of them."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from anomaly.config.settings import IdentitySettings, Settings, SourceSettings
from anomaly.decode.block import Block
from anomaly.decode.catalog import Description
from anomaly.decode.encodings import ENCODINGS, Parsed, Sample
from anomaly.decode.giants import BEAT_EVERY
from anomaly.decode.identity import BEAT, Identity, root
from anomaly.decode.points import Flag, Kind
from anomaly.decode.records import Records
from anomaly.decode.stage import Decode

NOW, PARTITIONS = 1_700_000_000_000, 4
SOURCE = SourceSettings(topic="metrics", encoding="lines")
GIANT = Settings(identity=IdentitySettings(giants=("huge",)))


def parse(value: bytes) -> list[Sample]:
    """`group metric instance time value` a line; a value of `-` is a stale marker."""
    found = []
    for line in value.decode().splitlines():
        group, metric, instance, time, number = line.split()
        series = Description(metric, "", {"service.name": group, "instance": instance}, Kind.GAUGE)
        flags = Flag.STALE if number == "-" else Flag.NONE
        found.append(Sample(series, int(time), 0.0 if flags else float(number), flags=flags))
    return found


@pytest.fixture(autouse=True, scope="module")
def _lines() -> Iterator[None]:
    ENCODINGS["lines"] = lambda: Parsed(parse)
    yield
    del ENCODINGS["lines"]


def decoded(stage: Decode, *values: str, partition: int = 0, offset: int = 0) -> list[Block]:
    """The block of each partition of anomaly.points."""
    records = Records.of([value.encode() for value in values], "metrics", partition, offset, NOW + 100_000)
    return [block for _, block in stage.blocks(SOURCE, records)[0]]


def is_beat(block: Block) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = block.points.flags == Flag.BEAT
    return found


def beats(blocks: Sequence[Block]) -> list[list[int]]:
    """Times of the beats that each partition gets, ms since NOW."""
    return [(block.points.time[is_beat(block)] - NOW).tolist() for block in blocks]


lines = st.tuples(st.sampled_from(["huge", "small", "other"]), st.integers(0, 9), st.integers(0, 2), st.integers(0, 30))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(lines, max_size=8), max_size=8))
def test_each_point_of_a_giant_arrives_once_in_order_and_each_metric_on_one_partition(
    sent: list[list[tuple[str, int, int, int]]],
) -> None:
    """The oracle is what was sent: the value of each point is its place in the input."""
    n, metrics, groups = 0, defaultdict(set), defaultdict(set)
    records, of = [], []
    for record in sent:
        of += [(group, f"m{metric}") for group, metric, _, _ in record]
        texts = [f"{g} m{m} i{i} {NOW + 1000 * t} {n + k}" for k, (g, m, i, t) in enumerate(record)]
        n += len(record)
        records.append("\n".join(texts))
    blocks = decoded(Decode(GIANT, PARTITIONS), *records)

    arrived: list[int] = []
    for p, block in enumerate(blocks):
        own = block.points.take(~is_beat(block))
        assert (np.diff(own.value) > 0).all()
        assert (np.diff(block.points.record) >= 0).all()  # beats stand in arrival order, as whoever cuts a block relies on
        arrived += own.value.astype(int).tolist()
        for place in own.value.astype(int).tolist():
            group, metric = of[place]
            metrics[group, metric].add(p)
            groups[group].add(p)
    assert sorted(arrived) == list(range(n))
    assert all(len(where) == 1 for where in metrics.values())
    assert all(len(where) == 1 for group, where in groups.items() if group != "huge")


def test_a_giant_with_many_metrics_is_on_all_partitions_and_no_other_group_moves():
    text = "\n".join(f"{g} m{m} i {NOW} 1" for g in ("huge", "small") for m in range(40))
    spread, before = decoded(Decode(GIANT, PARTITIONS), text), decoded(Decode(Settings(), PARTITIONS), text)

    def held(blocks: list[Block], group: str) -> list[int]:
        return [sum(s.group == group and s.metric != BEAT for s in block.series) for block in blocks]

    assert min(held(spread, "huge")) > 0
    assert sorted(held(before, "huge")) == [0, 0, 0, 40]
    assert held(spread, "small") == held(before, "small")


@pytest.mark.parametrize(
    "metrics",
    [
        ("http_request_duration_seconds", "http_request_duration_seconds_bucket", "http_request_duration_seconds_sum"),
        ("a_count_sum", "a_count", "a"),
        ("requests_total", "requests"),
    ],
)
def test_parts_of_one_histogram_have_one_place_whatever_their_suffix(metrics: tuple[str, ...]):
    identity = Identity(GIANT.identity)
    places = {identity.placed(m, "", {"service.name": "huge"}, Kind.COUNTER).place for m in metrics}
    assert (len(places), len({root(m) for m in metrics})) == (1, 1)
    assert places != {identity.placed("other", "", {"service.name": "huge"}, Kind.COUNTER).place}


def test_a_beat_goes_to_every_partition_with_the_first_point_and_then_every_few_seconds():
    stage, step = Decode(GIANT, PARTITIONS), BEAT_EVERY // 2
    blocks = decoded(stage, *(f"huge m i {NOW + step * k} 1\nsmall m i {NOW + step * k} 1" for k in range(5)))
    assert beats(blocks) == [[0, 2 * step, 4 * step]] * PARTITIONS
    assert beats(decoded(stage, f"small m i {NOW + 90_000} 1")) == [[]] * PARTITIONS
    assert all(block.points.record[is_beat(block)].tolist() == [0, 2, 4] for block in blocks)


def test_each_input_partition_has_beats_of_its_own():
    """Of a backlog one may be read long before another, and through which a giant was heard last is part of being heard."""
    stage = Decode(GIANT, PARTITIONS)
    assert beats(decoded(stage, f"huge m i {NOW + 60_000} 1")) == [[60_000]] * PARTITIONS
    assert beats(decoded(stage, f"huge m i {NOW} 1", partition=1)) == [[0]] * PARTITIONS


def test_what_is_read_again_from_further_back_has_its_beats_again():
    stage = Decode(GIANT, PARTITIONS)
    decoded(stage, f"huge m i {NOW + 60_000} 1")
    stage.drop("metrics", 0)
    assert beats(decoded(stage, f"huge m i {NOW} 1")) == [[0]] * PARTITIONS


def test_a_beat_is_announced_with_each_block_that_has_one_under_the_name_of_its_group():
    stage = Decode(GIANT, PARTITIONS)
    for offset, time in enumerate((NOW, NOW + BEAT_EVERY)):
        for block in decoded(stage, f"huge m i {time} 1", offset=offset):
            ((hashed, group),) = {(s.hash, s.group) for s in block.series if s.metric == BEAT}
            assert (group, hashed) == ("huge", int(block.points.series[is_beat(block)][0]))


def test_a_stale_marker_is_no_sign_of_life():
    stage = Decode(GIANT, PARTITIONS)
    assert beats(decoded(stage, f"huge m i {NOW} -")) == [[]] * PARTITIONS


def test_environments_have_giants_of_their_own():
    """The same name in two environments: two giants, each with its beats and its places."""
    identity = Identity(GIANT.identity)
    prod, test = (identity.placed("m", "", {"service.name": "huge", "env": e}, Kind.GAUGE) for e in ("prod", "test"))
    assert prod.beat is not None
    assert test.beat is not None
    assert (prod.beat.hash != test.beat.hash, prod.place != test.place) == (True, True)


def test_on_one_partition_nothing_is_spread_and_nothing_added():
    (block,) = decoded(Decode(GIANT, 1), f"huge m i {NOW} 1\nhuge n i {NOW} 1")
    assert (beats([block]), len(block.points)) == ([[]], 2)


def test_a_block_that_is_withdrawn_is_announced_again_and_its_beats_harm_no_series():
    stage = Decode(GIANT, PARTITIONS)
    first = decoded(stage, f"huge m i {NOW} 1")
    stage.withdraw(first)
    again = decoded(stage, f"huge m i {NOW + 1} 1", offset=1)
    assert [s.metric for block in again for s in block.series] == ["m"]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(lines, min_size=1, max_size=4), min_size=2, max_size=10), st.data())
def test_who_takes_each_record_once_takes_each_point_once_however_decode_begins_again(
    sent: list[list[tuple[str, int, int, int]]], data: st.DataObject
) -> None:
    """A restarted decoder has other beats; attached to records, none of them brings a point again or hides one."""
    texts = ["\n".join(f"{g} m{m} i{i} {NOW + 1000 * t} 1" for g, m, i, t in record) for record in sent]
    until = data.draw(st.integers(1, len(texts)))
    begin = data.draw(st.integers(0, until))
    whole = decoded(Decode(GIANT, PARTITIONS), *texts)
    first = decoded(Decode(GIANT, PARTITIONS), *texts[:until])
    second = decoded(Decode(GIANT, PARTITIONS), *texts[begin:], offset=begin)
    for p in range(PARTITIONS):
        again = replace(second[p].points, record=second[p].points.record + begin)
        late = again.take(again.record >= until)
        taken = [part.take(part.flags != Flag.BEAT) for part in (first[p].points, late)]
        own = whole[p].points.take(~is_beat(whole[p]))
        for column in ("series", "time", "record"):
            both = np.concatenate([getattr(part, column) for part in taken])
            np.testing.assert_array_equal(both, getattr(own, column))
