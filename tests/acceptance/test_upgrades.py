"""Upgrades: what was learned stays, nobody is told anything that is not so, and a fault after it is found as before."""

import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator

import msgspec
import pytest
from tests.faults.chaos import story

from anomaly.config.load import load_specs
from anomaly.config.settings import Settings, SourceSettings
from anomaly.correlate.incident import Incident
from anomaly.decode.records import Records
from anomaly.dispatch.alert import Alert, What
from anomaly.engine import Engine
from anomaly.host.statelog import Found, Generation, Manifest, pack, put, read_manifest, to_manifest

SOURCE = SourceSettings(topic="metrics", encoding="prometheus_json")
POINTS = 2  # partitions of anomaly.points
UPGRADE, END = 50, 110  # steps of five seconds; services fail from the 61st on

Place = Callable[[int, int], int]  # (step, place of a record in its step) -> source partition


def spread(over: int) -> Place:
    """An unkeyed topic: every series is on all partitions by and by."""
    return lambda step, i: (step + i) % over


def widened(before: int, after: int) -> Place:
    """It gets more partitions at the upgrade."""
    return lambda step, i: spread(before if step < UPGRADE else after)(step, i)


class World:
    """A source, and one worker that reads it."""

    def __init__(self, place: Place) -> None:
        self.engine, self.place = Engine(Settings(), load_specs(), POINTS), place
        self.ends: Counter[int] = Counter()
        self.told: list[Alert] = []
        self.judged: Counter[str] = Counter()

    def play(self, steps: Iterable[int]) -> None:
        """A block for each source partition and step."""
        for step in steps:
            for partition, values in self._records(step):
                records = Records.of(values, SOURCE.topic, partition, self.ends[partition])
                self.ends[partition] += len(values)
                blocks, dead = self.engine.decode(SOURCE, records)
                assert not dead
                for p, block in blocks:
                    events = self.engine.detect(p, block)
                    changed: list[tuple[Incident, Alert | None]] = self.engine.correlate(p, events)
                    self.told += [alert for _, alert in changed if alert]

    def _records(self, step: int) -> Iterator[tuple[int, list[bytes]]]:
        by_partition: dict[int, list[bytes]] = defaultdict(list)
        for i, (_, value) in enumerate(story(step)):
            by_partition[self.place(step, i)].append(value)
        yield from sorted(by_partition.items())

    @property
    def triggers(self) -> list[tuple[str, str]]:
        """(time, group) of each page or ticket."""
        return sorted((a.time, a.group) for a in self.told if a.event is What.TRIGGER)

    def digests(self) -> list[int]:
        """Of what detect knows."""
        return [self.engine.detector(p).digest() for p in range(POINTS)]

    def restart(self, beside: dict[str, object] | None = None) -> None:
        """Another process has the checkpoints and the incidents of this one, and a decoder that knows nobody.

        `beside` is what the one that wrote them had in its manifest and in its detectors' rest, and we have not.
        """
        other = Engine(Settings(), load_specs(), POINTS)
        for p in range(POINTS):
            kept = self.engine.detector(p)
            snapshot = kept.gather(1)
            rest = msgspec.msgpack.encode(msgspec.msgpack.decode(snapshot.rest) | (beside or {}))
            body = pack(snapshot._replace(rest=rest), kept.layouts())
            own = Generation(1, 0, zlib.crc32(body), len(body))
            manifest = to_manifest(Manifest(generation=1, next_offset=0, live=(own,), written_by="99.0.0"))
            read = read_manifest(msgspec.json.encode(msgspec.json.decode(manifest) | (beside or {})))
            put(Found(read, [(1, body)]), other.detector(p))
            other.correlator(p).remember(self.engine.correlator(p).memory())
        self.engine = other


def test_other_kernels_take_the_state_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new version of ours, or of numba: to the bit what was learned, and what is told afterwards is the same."""
    before, after = World(spread(4)), World(spread(4))
    before.play(range(UPGRADE))
    after.play(range(UPGRADE))
    monkeypatch.setattr("anomaly.compiled.VERSION", "kernels-of-tomorrow")
    after.restart()
    assert after.digests() == before.digests()
    assert not any(after.engine.detector(p).migrated for p in range(POINTS))

    before.play(range(UPGRADE, END))
    after.play(range(UPGRADE, END))
    assert after.told == before.told
    assert after.triggers, "a story in which nothing happens shows nothing"


def test_a_version_goes_back_to_the_one_before_it() -> None:
    """What a later program wrote in the same format is taken as it is, whatever it knew beside: nothing is learned anew."""
    before, after = World(spread(4)), World(spread(4))
    before.play(range(UPGRADE))
    after.play(range(UPGRADE))
    after.restart({"of_tomorrow": [1, 2]})
    assert after.digests() == before.digests()
    assert not any(after.engine.detector(p).migrated for p in range(POINTS))

    before.play(range(UPGRADE, END))
    after.play(range(UPGRADE, END))
    assert after.told == before.told
    assert after.triggers, "a story in which nothing happens shows nothing"


def test_more_source_partitions_move_no_state_and_tell_nothing_that_is_not_so() -> None:
    """An unkeyed topic goes from 4 to 12 partitions: groups stay where they are, new partitions are heard."""
    narrow, wide = World(spread(4)), World(widened(4, 12))
    for world in (narrow, wide):
        world.play(range(UPGRADE))
    wide.restart()  # whoever gets the new partitions begins with a rebalance
    assert not wide.told
    known = [wide.engine.detector(p).series for p in range(POINTS)]
    for world in (narrow, wide):
        world.play(range(UPGRADE, END))

    assert [wide.engine.detector(p).series for p in range(POINTS)] == known
    assert sorted(wide.ends) == list(range(12))
    assert [group for _, group in wide.triggers] == [group for _, group in narrow.triggers]
    assert narrow.triggers, "a story in which nothing happens shows nothing"
