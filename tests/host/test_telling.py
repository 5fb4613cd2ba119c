"""What a detector without a checkpoint takes for open."""

import zlib

import msgspec
import pytest
from tests.dispatch.story import closed, opened
from tests.host.test_stages import NAMES, PARTITIONS, SOURCE, wiring

from anomaly.config.settings import Correlation, KafkaSettings
from anomaly.correlate.correlator import Correlator
from anomaly.decode.identity import fingerprint
from anomaly.detect.anomaly import Anomaly
from anomaly.host import compacted
from anomaly.host.stages_alerts import Kept
from anomaly.host.telling import Of, Telling

Held = dict[int, dict[bytes, bytes]]
OPEN, OVER = opened("a", 0), opened("b", 5)
HOME = fingerprint(0, OPEN.environment, OPEN.group) % PARTITIONS


def incidents() -> Held:
    """One incident, of which one anomaly is open and one is over."""
    [*_, incident] = Correlator(Correlation()).update([OPEN, OVER, closed(OVER, 20)])
    place = zlib.crc32(OPEN.environment.encode()) % PARTITIONS
    return {place: {incident.dedup_key.encode(): msgspec.json.encode(Kept(incident, None))}}


def notes(*anomalies: Anomaly) -> Held:
    """Of the partition that the group is on."""
    return {HOME: {a.id.encode(): msgspec.json.encode(a) for a in anomalies}}


async def taken(monkeypatch: pytest.MonkeyPatch, held: dict[str, Held], *detectors: Of) -> dict[Of, list[str]]:
    """The ids that detectors go on with, by what is in the topics."""

    async def read(kafka: KafkaSettings, topic: str, partitions: list[int]) -> Held:
        return {p: held.get(topic, {}).get(p, {}) for p in partitions}

    monkeypatch.setattr(compacted, "read", read)
    w = wiring()
    telling = Telling(w)
    await telling.restore(detectors)
    await telling.posting.all()
    return {of: [a.id for a in w.engine.detector(of.number).report.known()] for of in detectors}


async def test_what_is_noted_is_open_and_nobody_else_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Notes are newer than incidents."""
    held = {NAMES.open: notes(OVER), NAMES.incidents: incidents()}
    assert await taken(monkeypatch, held, Of(HOME)) == {Of(HOME): [OVER.id]}


async def test_where_nothing_is_noted_incidents_say_what_is_open_to_whom_it_concerns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The notes may be lost as well; what is over needs nobody."""
    detectors = [Of(p) for p in range(PARTITIONS)]
    found = await taken(monkeypatch, {NAMES.incidents: incidents()}, *detectors)
    assert found == {of: [OPEN.id] if of.partition == HOME else [] for of in detectors}


async def test_of_a_source_keyed_by_others_each_partition_awaits_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its sender puts a group only the sender knows."""
    detectors = [Of(p, SOURCE.topic) for p in range(PARTITIONS)]
    found = await taken(monkeypatch, {NAMES.incidents: incidents()}, *detectors)
    assert list(found.values()) == [[OPEN.id]] * PARTITIONS
