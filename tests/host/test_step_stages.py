"""Steps of traces through the stages as they run on Kafka, with the brokers left out: spans here, lines there."""

from collections import Counter
from typing import Any

import msgspec
import pytest
from tests.decode.test_steps import LINES, SPANS, T0, L, S, line_record, span_record
from tests.host.test_span_stages import kept
from tests.host.test_stages import KAFKA, NAMES, PARTITIONS, Kept, fetched

from anomaly.config.load import load_specs
from anomaly.config.settings import Keyed, Settings, SourceSettings
from anomaly.decode.records import Records
from anomaly.decode.steps_series import NEXT, STEP, STEPS
from anomaly.engine import Engine
from anomaly.host import wire_points
from anomaly.host.blocks import Place
from anomaly.host.embedded import Rest, Together
from anomaly.host.health import Health
from anomaly.host.stages import FusedStage
from anomaly.host.stages_spans import JoinStage, SpansStage, traced
from anomaly.host.wiring import Wiring

SOURCES = [SourceSettings(topic=encoding, encoding=encoding) for encoding in (SPANS, LINES)]
SECONDS = 40


@pytest.fixture(autouse=True)
def _no_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    from anomaly.host import compacted, topics

    async def nothing(*_: Any) -> dict[int, dict[bytes, bytes]]:
        return {p: {} for p in range(PARTITIONS)}

    async def none(*_: Any) -> dict[str, int]:
        return {}

    monkeypatch.setattr(compacted, "read", nothing)
    monkeypatch.setattr(topics, "counts", none)


def wiring() -> Wiring:
    partitions = dict.fromkeys([*NAMES, NAMES.spans], PARTITIONS)
    return Wiring(KAFKA, NAMES, partitions, Engine(Settings(kafka=KAFKA), load_specs(), PARTITIONS), Kept(), Health())


def second(t: int) -> list[tuple[str, bytes]]:
    """Four traces of two services, each with a line, and a line of none."""
    spans, lines = [], [L(0, 0, "a", 1000 * t + 900, "tick")]
    for trace in range(4 * t + 1, 4 * t + 5):
        spans += [
            S(trace, 1, 0, "a", "GET", 1000 * t, 1000 * t + 50),
            S(trace, 2, 1, "b", "PUT", 1000 * t + 10, 1000 * t + 40),
        ]
        lines.append(L(trace, 2, "b", 1000 * t + 20, "stored"))
    return [(SPANS, span_record(spans)), (LINES, line_record(lines))]


def steps(w: Wiring) -> Counter[tuple[str, str, str]]:
    """Traces by group and step, of the points on the topic."""
    blocks = [wire_points.decode(text) for texts in w.outputs.by_topic[NAMES.points].values() for text in texts]  # type: ignore[attr-defined]
    known = {one.hash: one for block in blocks for one in block.series}
    found = Counter[tuple[str, str, str]]()
    for block in blocks:
        for series, value in zip(block.points.series.tolist(), block.points.value.tolist(), strict=True):
            labels = dict(known[series].labels)
            if known[series].metric == STEPS and NEXT in labels:
                found[known[series].group, labels[STEP], labels[NEXT]] += round(value)
    return found


async def passed_on(w: Wiring) -> dict[int, list[bytes]]:
    """The records of .spans that the sources make."""
    stage = SpansStage(w, SOURCES)
    offset = Counter[str]()
    for t in range(SECONDS):
        for encoding, value in second(t):
            await stage.take(fetched(encoding, t % PARTITIONS, offset[encoding], [value], T0 + 1000 * t + 999))
            offset[encoding] += 1
            await stage.finish()
    return {p or 0: texts for p, texts in w.outputs.by_topic.pop(NAMES.spans).items()}  # type: ignore[attr-defined]


async def test_spans_and_lines_of_a_trace_meet_on_its_partition_and_survive_a_restart_there() -> None:
    """Nothing is lost, and nothing counted twice, wherever the partition's worker stops."""
    records = await passed_on(wiring())
    assert len(records) == PARTITIONS
    found = []
    for cut in (0, 1, len(records[0]) // 2):
        other = wiring()
        for p, texts in records.items():
            place = Place(NAMES.spans, p)
            before, after = JoinStage(other, SOURCES), JoinStage(other, SOURCES)
            state, fresh = before.state(place), after.state(place)
            assert state
            assert fresh
            if cut:
                await before.take(fetched(NAMES.spans, p, 0, texts[:cut], -1))
                await before.sent()
                kept(state, fresh)
            await after.take(fetched(NAMES.spans, p, cut, texts[cut:], -1))
            await after.sent()
        found.append(steps(other))
    assert found == found[:1] * 3
    n = found[0]["a", "start", "call b PUT"]
    assert 4 * (SECONDS - 20) <= n <= 4 * SECONDS
    usual = {
        ("a", "start", "call b PUT"),
        ("a", "call b PUT", "end"),
        ("b", "start", "INFO stored"),
        ("b", "INFO stored", "end"),
    }
    assert found[0] == dict.fromkeys(usual, n)


def test_lines_go_where_spans_go_only_where_there_are_spans_or_sessions() -> None:
    spans, lines = SOURCES
    assert traced([lines]) == []
    assert traced(SOURCES) == SOURCES
    session = SourceSettings(topic="text", encoding="text_logs", session_key="(blk_.)")
    assert traced([session, lines]) == [session, lines]
    assert traced([spans, SourceSettings(topic="m", encoding="otlp_proto")]) == [spans]


async def test_where_decode_and_detect_are_one_stage_a_restart_in_the_midst_of_traces_changes_nothing() -> None:
    """The state of detect is the same to the bit, what it learned of steps included."""
    source = msgspec.structs.replace(SOURCES[0], keyed=Keyed.GROUP)
    place, told = Place(SPANS, 0), [second(t)[0][1] for t in range(SECONDS)]
    found = []
    for cut in (0, SECONDS // 2):
        before, after = wiring(), wiring()
        stages = FusedStage(before, [source]), FusedStage(after, [source])
        states = [stage.state(place) for stage in stages]
        if cut:
            await stages[0].take(fetched(SPANS, 0, 0, told[:cut], T0))
            kept(states[0], states[1])
        for i, text in enumerate(told[cut:], cut):
            await stages[1].take(fetched(SPANS, 0, i, [text], T0 + 1000 * i))
        found.append(states[1].digest())  # type: ignore[attr-defined]
    assert found[0] == found[1]


def test_the_embedded_host_keeps_open_traces_and_reads_what_was_kept_before_it_did() -> None:
    """What was lost while it was away is not missed: the rest of the traces of then makes no steps."""
    engine, other, older = (Engine(Settings(), load_specs()) for _ in range(3))
    for t in range(5):
        for (_, value), source in zip(second(t), SOURCES, strict=True):
            engine.decode(source, Records.of([value], "otlp"))
    state = Together(engine)
    kept(state, Together(other))
    assert other.open_traces() != older.open_traces()
    rest = msgspec.msgpack.decode(state.gather(2).rest)
    assert len(rest) == len(Rest.__struct_fields__)
    Together(older).settle(msgspec.msgpack.encode(rest[:-1]))
    for one in (other, older):
        found = []
        for t in range(4, 60):
            for (_, value), source in zip(second(t), SOURCES, strict=True):
                blocks, _ = one.decode(source, Records.of([value], "otlp"))
                found += [
                    int(start - T0)
                    for _, block in blocks
                    for start in block.points.start[block.points.time % 10_000 == 0].tolist()
                ]
        assert min(found) >= 0
        assert one.counts["step_interrupted"] > 0
