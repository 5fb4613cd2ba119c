"""The stages with the brokers left out: what they write is kept, and what they note is not read back."""

import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import Any, cast

import msgspec
import pytest
from tests.host.shop import telemetry

from anomaly.config.load import load_specs
from anomaly.config.settings import IdentitySettings, KafkaSettings, Keyed, Limits, Settings, SourceSettings
from anomaly.decode.identity import Identity, Placed
from anomaly.decode.records import Records
from anomaly.decode.stage import PAST_LIMIT
from anomaly.detect.detector import Detector
from anomaly.engine import Engine
from anomaly.host import compacted, topics
from anomaly.host.blocks import Fetched, Place
from anomaly.host.embedded import Reporting
from anomaly.host.health import Health
from anomaly.host.inprocess import walk
from anomaly.host.outputs import Message, Outputs
from anomaly.host.stages import DecodeStage, DetectStage, FusedStage
from anomaly.host.stages_alerts import CorrelateStage
from anomaly.host.telling import Of
from anomaly.host.topics import Names
from anomaly.host.wiring import Wiring
from anomaly.state import Newer, Stateful
from anomaly.table import Part

ROW = '{"timestamp":"2026-01-01T00:00:00Z","value":"1","name":"up","labels":{"__name__":"up","job":"%d"}}'


def test_points_of_series_past_the_limit_are_counted_where_an_operator_looks():
    """They are neither judged nor set aside; nothing may go unsaid."""
    engine, health = Engine(Settings(limits=Limits(series=2)), load_specs()), Health()
    report = Reporting(engine, health)
    source = SourceSettings(topic="t", encoding="prometheus_json")
    for _ in range(2):
        report(walk(engine, source, Records.of([(ROW % job).encode() for job in range(5)], "t")))
    counted = health.registry.get_sample_value("anomaly_points_total", {"outcome": PAST_LIMIT})
    assert (counted, len(engine.detector(0).register.subjects) <= 2) == (6.0, True)


BEGIN = 1_767_225_600  # seconds since the epoch
KAFKA, NAMES, PARTITIONS = KafkaSettings(bootstrap=["nowhere:9092"]), Names.of("a"), 2
SOURCE = SourceSettings(topic="otlp", encoding="otlp_proto")
KEYED = msgspec.structs.replace(SOURCE, keyed=Keyed.GROUP)


class Kept(Outputs):
    """Outputs that keep what is sent, by topic and partition."""

    def __init__(self) -> None:
        super().__init__(KAFKA)
        self.by_topic: dict[str, dict[int | None, list[bytes]]] = defaultdict(lambda: defaultdict(list))

    async def send(self, messages: Sequence[Message]) -> None:
        for m in messages:
            self.by_topic[m.topic][m.partition].append(m.value or b"")

    def anomalies(self) -> list[Any]:
        """What was said but for ticks, by time and id."""
        told = [msgspec.json.decode(text) for texts in self.by_topic[NAMES.anomalies].values() for text in texts]
        return sorted((a for a in told if "id" in a), key=lambda a: (a["time"], a["id"], a["event"]))


@pytest.fixture(autouse=True)
def _no_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(kafka: KafkaSettings, topic: str, partitions: Iterable[int]) -> dict[int, dict[bytes, bytes]]:
        return {p: {} for p in partitions}

    async def none(kafka: KafkaSettings, names: Sequence[str]) -> dict[str, int]:
        return {}

    monkeypatch.setattr(compacted, "read", nothing)
    monkeypatch.setattr(topics, "counts", none)


def wiring() -> Wiring:
    """Of a worker without brokers."""
    settings = Settings(kafka=KAFKA, sources=[SOURCE])
    partitions = dict.fromkeys(NAMES, PARTITIONS)
    return Wiring(KAFKA, NAMES, partitions, Engine(settings, load_specs(), PARTITIONS), Kept(), Health())


def fetched(topic: str, partition: int, offset: int, values: Sequence[bytes], time: int) -> Fetched:
    """A block as it comes off a topic."""
    r = Records.of(values, topic, partition, offset, time)
    columns = r.offset, r.time, r.value_at, r.value_len
    return Fetched(topic, partition, r.buffer, *columns, r.next_offset, r.first_offset)


def story() -> list[Fetched]:
    """Three minutes of three services, each on a partition; payment is ill for a while."""
    at = [0] * PARTITIONS
    found = []
    for time, name, request in telemetry(BEGIN, 180, 120, 160):
        p = zlib.crc32(name.encode()) % PARTITIONS
        found.append(fetched(SOURCE.topic, p, at[p], [request], time))
        at[p] += 1
    return found


async def test_in_one_stage_the_same_is_said_as_in_two() -> None:
    """Of a source that is keyed by group, anomaly for anomaly, to the last digit."""
    apart, together = wiring(), wiring()
    decode, detect, fused = DecodeStage(apart, [SOURCE]), DetectStage(apart), FusedStage(together, [KEYED])
    for p in range(PARTITIONS):
        fused.state(Place(SOURCE.topic, p))
    for block in story():
        await decode.take(block)
        await decode.finish()
        for p, texts in apart.outputs.by_topic.pop(NAMES.points, {}).items():  # type: ignore[attr-defined]
            await detect.take(fetched(NAMES.points, p, 0, texts, 0))
        await fused.take(block)
        assert block.ticket.settled
    said = together.outputs.anomalies()  # type: ignore[attr-defined]
    assert {a["group"] for a in said} == {"shop/payment"}
    assert said == apart.outputs.anomalies()  # type: ignore[attr-defined]


async def test_a_group_on_a_second_partition_is_counted_and_said(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever declared the source to be keyed by group must know that it is not."""
    w = wiring()
    fused = FusedStage(w, [KEYED])
    for p in range(PARTITIONS):
        fused.state(Place(SOURCE.topic, p))
    requests = [(time, request) for time, name, request in telemetry(BEGIN, 3, 9, 9) if name == "web"]
    for i, (time, request) in enumerate(requests):
        await fused.take(fetched(SOURCE.topic, min(i, 1), i, [request], time))
    counted = w.health.registry.get_sample_value("anomaly_groups_misplaced_total", {"source": SOURCE.topic})
    assert counted == 1
    assert "keyed: group" in caplog.text


async def test_a_partition_that_comes_back_is_told_everything_anew() -> None:
    """What its detector knew is gone, and so must be what its decoder believes that it knows."""
    w = wiring()
    fused, place = FusedStage(w, [KEYED]), Place(SOURCE.topic, 0)
    (time, _, request), *_ = telemetry(BEGIN, 1, 9, 9)
    series = []
    for _ in range(2):
        fused.state(place)
        await fused.take(fetched(SOURCE.topic, 0, 0, [request], time))
        fused.report()
        series.append(w.health.registry.get_sample_value("anomaly_series"))
        fused.drop(place)
    assert series[0] == series[1]
    assert series[0]


def kept(state: Stateful, fresh: Stateful) -> Stateful:
    """The fresh one with what a checkpoint of the other holds."""
    layouts, snapshot = state.layouts(), state.gather(1)
    fresh.put(1, [Part(p.table, p.rows, bytes(p.data)) for p in snapshot.parts], layouts)
    fresh.settle(snapshot.rest)
    return fresh


async def test_a_restored_partition_goes_on_without_describing_its_series_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a minute for a million of them; and what it says is what an undisturbed one says."""
    disturbed, calm = wiring(), wiring()
    place = Place(SOURCE.topic, 0)
    before, after, undisturbed = FusedStage(disturbed, [KEYED]), FusedStage(disturbed, [KEYED]), FusedStage(calm, [KEYED])
    blocks = [block for block in story() if block.partition == 0]
    state, calm_state = before.state(place), undisturbed.state(place)
    for block in blocks[:100]:
        await before.take(block)
        await undisturbed.take(block)
    disturbed.engine.drop(Of(place.partition, place.topic).number)
    restored = kept(state, after.state(place))

    def asked(*_: object) -> Placed:
        raise AssertionError("described again")

    with monkeypatch.context() as patched:
        patched.setattr(Identity, "placed", asked)
        await after.take(blocks[100])
    await undisturbed.take(blocks[100])
    for block in blocks[101:]:
        await after.take(block)
        await undisturbed.take(block)
    assert cast(Detector, restored).digest() == cast(Detector, calm_state).digest()


async def test_under_other_rules_of_identity_series_are_described_again() -> None:
    """What the bytes on the wire meant then they do not mean now."""
    w, other = wiring(), wiring()
    place, number = Place(SOURCE.topic, 0), Of(0, SOURCE.topic).number
    blocks = [block for block in story() if block.partition == 0]
    fused, renamed = FusedStage(w, [KEYED]), FusedStage(other, [KEYED])
    state = fused.state(place)
    await fused.take(blocks[0])
    other.engine.settings = msgspec.structs.replace(other.engine.settings, identity=IdentitySettings(group=()))
    kept(state, renamed.state(place))
    await renamed.take(blocks[1])
    groups = {listed.series.group for listed in other.engine.detector(number).listing()}
    assert "unknown" in groups


async def test_what_correlate_remembers_in_a_later_version_stops_the_start_and_nothing_is_taken_in() -> None:
    """A rollback must not write over it."""
    w = wiring()
    stage = CorrelateStage(w)
    state = cast(Stateful, stage.state(Place(NAMES.anomalies, 0)))
    rest = msgspec.msgpack.decode(state.gather(1).rest)
    for version, raises in ((1, False), (2, True)):
        body = msgspec.msgpack.encode(rest | {"version": version} | ({"kept": "of another type"} if raises else {}))
        with pytest.raises(Newer, match="format 2") if raises else nullcontext():
            state.settle(body)


async def test_correlate_keeps_its_budgets_and_reads_what_was_kept_before_there_were_any() -> None:
    """An old checkpoint has no budgets: they begin anew, and everything else goes on."""
    w, other = wiring(), wiring()
    budget = w.engine.budgets(0).of("prod", "g")
    assert budget is not None
    budget.go_on(1_700_000_000_000)
    budget.ledger.bucket.take()
    state, fresh = (cast(Stateful, CorrelateStage(each).state(Place(NAMES.anomalies, 0))) for each in (w, other))
    rest = msgspec.msgpack.decode(state.gather(1).rest)
    fresh.settle(msgspec.msgpack.encode({k: v for k, v in rest.items() if k != "budgets"}))
    assert list(other.engine.budgets(0).readings()) == []
    fresh.settle(msgspec.msgpack.encode(rest))
    assert list(other.engine.budgets(0).readings()) == list(w.engine.budgets(0).readings())
