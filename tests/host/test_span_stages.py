"""Spans through the stages as they run on Kafka, with the brokers left out, and with one: several partitions, no keys."""

import asyncio
import json
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from aiokafka import AIOKafkaProducer
from tests.acceptance.test_span_timelines import BEGIN, Ill, second
from tests.host.test_stages import KAFKA, NAMES, PARTITIONS, Kept, fetched
from tests.host.test_worker import Worker, ours_exist

from anomaly.config.load import load_specs
from anomaly.config.settings import IdentitySettings, Settings, SourceSettings
from anomaly.decode.spans_series import CALLS, REQUESTS
from anomaly.decode.spans_traces import REPEATED_SPANS
from anomaly.detect.anomaly import Anomaly
from anomaly.engine import Engine
from anomaly.host import wire_points
from anomaly.host.blocks import Fetched, Place
from anomaly.host.health import Health
from anomaly.host.stages import DecodeStage, DetectStage
from anomaly.host.stages_spans import JoinStage, SpansStage
from anomaly.host.wiring import Wiring
from anomaly.state import Newer, Stateful
from anomaly.table import Part

SOURCE = SourceSettings(topic="otlp_spans", encoding="otlp_spans_proto")
HEALTHY, ILL, AFTER = 240, 45, 75  # seconds
LATE = 60  # seconds that the source may be late, where partitions are read a hundred times as fast as they were lived


def records(t: int) -> list[bytes]:
    """A second of two services, of which one fails for a while."""
    return list(second(t, Ill(fails=0.5) if HEALTHY <= t < HEALTHY + ILL else Ill()))


@pytest.fixture(autouse=True)
def _no_notes(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    from anomaly.host import compacted

    async def nothing(*_: Any) -> dict[int, dict[bytes, bytes]]:
        return {p: {} for p in range(PARTITIONS)}

    if "kafka" not in request.keywords:
        monkeypatch.setattr(compacted, "read", nothing)


@pytest.mark.parametrize("version", [1, 2])
async def test_over_the_topic_of_points_the_same_is_said_as_in_one_process(version: int) -> None:
    """In either version of its format; a trace's records are on one partition, which changes from second to second."""
    topics = msgspec.structs.replace(KAFKA.topics, points_version=version)
    kafka = msgspec.structs.replace(KAFKA, topics=topics)
    settings, partitions = Settings(kafka=kafka, sources=[SOURCE]), dict.fromkeys(NAMES, PARTITIONS)
    wiring = Wiring(kafka, NAMES, partitions, Engine(settings, load_specs(), PARTITIONS), Kept(), Health())
    decode, detect = DecodeStage(wiring, [SOURCE]), DetectStage(wiring)
    alone, said = Engine(settings, load_specs(), PARTITIONS), list[Anomaly]()
    for t in range(HEALTHY + ILL + AFTER):
        block = fetched(SOURCE.topic, t % PARTITIONS, t // PARTITIONS * 2, records(t), (BEGIN + t + 1) * 1000)
        await decode.take(block)
        await decode.finish()
        for p, texts in wiring.outputs.by_topic.pop(NAMES.points, {}).items():  # type: ignore[attr-defined]
            await detect.take(fetched(NAMES.points, p or 0, 0, texts, 0))
        for p, made in alone.decode(SOURCE, block)[0]:
            said += [event for event in alone.detect(p, made) if isinstance(event, Anomaly)]
    told = wiring.outputs.anomalies()  # type: ignore[attr-defined]
    expected = sorted((a.time, a.id, str(a.event)) for a in said)
    assert {a["group"] for a in told} == {"shop"}
    assert sorted((a["time"], a["id"], a["event"]) for a in told) == expected


def wiring() -> Wiring:
    """Of a worker without brokers."""
    partitions = dict.fromkeys([*NAMES, NAMES.spans], PARTITIONS)
    return Wiring(KAFKA, NAMES, partitions, Engine(Settings(kafka=KAFKA), load_specs(), PARTITIONS), Kept(), Health())


def said(w: Wiring) -> Counter[tuple[str, str]]:
    """How many spans and calls the points on the topic count, by metric and group."""
    found: Counter[tuple[str, str]] = Counter()
    known: dict[int, tuple[str, str]] = {}
    blocks = [wire_points.decode(text) for texts in w.outputs.by_topic[NAMES.points].values() for text in texts]  # type: ignore[attr-defined]
    for block in blocks:
        known |= {one.hash: (one.metric, one.group) for one in block.series}
    for block in blocks:
        for series, value in zip(block.points.series.tolist(), block.points.value.tolist(), strict=True):
            found[known[series]] += value
    return Counter({key: round(n) for key, n in found.items() if key[0] in (CALLS, REQUESTS)})


async def passed(w: Wiring, blocks: list[Fetched]) -> None:
    """Through the stage of spans, and what it passes on through the join."""
    spans, join = SpansStage(w, [SOURCE]), JoinStage(w, [SOURCE])
    offset = [0] * PARTITIONS
    for block in blocks:
        await spans.take(block)
        await spans.finish()
        assert block.ticket.settled
        for p, texts in w.outputs.by_topic.pop(NAMES.spans, {}).items():  # type: ignore[attr-defined]
            await join.take(fetched(NAMES.spans, p or 0, offset[p or 0], texts, -1))
            offset[p or 0] += len(texts)
        await join.finish()


async def test_halves_on_several_partitions_meet_on_the_partition_of_their_trace() -> None:
    """Callers come on one partition and callees on the other; in one process each joins its own, and finds nothing."""
    w, alone = wiring(), wiring()
    blocks = [
        fetched(SOURCE.topic, p, t, [records(t)[p]], (BEGIN + t + 1) * 1000) for t in range(10) for p in range(PARTITIONS)
    ]
    await passed(w, blocks)
    decode = DecodeStage(alone, [SOURCE])
    for block in blocks:
        await decode.take(block)
    await decode.finish()
    spans = {(CALLS, "web"): 400, (CALLS, "shop"): 200}
    assert said(w) == spans | {(REQUESTS, "shop"): 200}
    assert said(alone) == spans


async def test_what_is_sent_or_passed_on_twice_is_counted_once() -> None:
    """A sender's retry is known where it is decoded; what a restarted decoder passes on again, at the join."""
    w = wiring()
    block = [fetched(SOURCE.topic, 0, offset, records(0), BEGIN * 1000 + 1000) for offset in (0, 2)]
    await passed(w, block)
    assert said(w) == {(CALLS, "web"): 40, (CALLS, "shop"): 20, (REQUESTS, "shop"): 20}
    assert w.health.registry.get_sample_value("anomaly_points_total", {"outcome": REPEATED_SPANS}) == 60
    w = wiring()
    spans = SpansStage(w, [SOURCE])
    await spans.take(fetched(SOURCE.topic, 0, 0, records(0), BEGIN * 1000 + 1000))
    await spans.finish()
    join = JoinStage(w, [SOURCE])
    for turn in range(2):
        for p, texts in w.outputs.by_topic[NAMES.spans].items():  # type: ignore[attr-defined]
            await join.take(fetched(NAMES.spans, p or 0, turn * len(texts), texts, -1))
    await join.finish()
    assert said(w)[REQUESTS, "shop"] == 20


async def test_a_record_of_spans_that_is_none_is_set_aside() -> None:
    w = wiring()
    join = JoinStage(w, [SOURCE])
    await join.take(fetched(NAMES.spans, 0, 0, [b"nothing of ours", b""], 0))
    await join.finish()
    assert len([text for texts in w.outputs.by_topic[NAMES.dead].values() for text in texts]) == 1  # type: ignore[attr-defined]


def kept(state: Stateful, fresh: Stateful, generations: int = 1) -> None:
    """Give the fresh one what a checkpoint of the other holds."""
    for part in state.ahead(generations):
        fresh.put(generations, [Part(part.table, part.rows, bytes(part.data))], state.layouts())
    snapshot = state.gather(generations)
    fresh.put(generations, [Part(p.table, p.rows, bytes(p.data)) for p in snapshot.parts], state.layouts())
    fresh.settle(snapshot.rest)


async def test_a_restart_between_two_halves_loses_no_call() -> None:
    """What waited before is joined after, under the same series; what came twice across the restart is one."""
    w = wiring()
    spans = SpansStage(w, [SOURCE])
    for t in range(4):
        for p in range(PARTITIONS):
            await spans.take(fetched(SOURCE.topic, p, t, [records(t)[p]], (BEGIN + t + 1) * 1000))
            await spans.finish()
    texts = w.outputs.by_topic[NAMES.spans][0]  # type: ignore[attr-defined]
    found = []
    for cut in (0, len(texts) // 2, len(texts) // 2 + 1):
        other, place = wiring(), Place(NAMES.spans, 0)
        before, after = JoinStage(other, [SOURCE]), JoinStage(other, [SOURCE])
        state, fresh = before.state(place), after.state(place)
        assert state
        assert fresh
        if cut:
            await before.take(fetched(NAMES.spans, 0, 0, texts[:cut], -1))
            await before.sent()
            kept(state, fresh)
        await after.take(fetched(NAMES.spans, 0, cut, texts[cut:] + texts, -1))
        await after.sent()
        found.append(said(other))
    assert found[0][REQUESTS, "shop"] > 0
    assert found == found[:1] * 3


async def test_halves_under_other_rules_of_identity_are_forgotten_and_a_later_format_stops_the_start() -> None:
    w, other, place = wiring(), wiring(), Place(NAMES.spans, 0)
    other.engine.settings = msgspec.structs.replace(other.engine.settings, identity=IdentitySettings(seed=5))
    states = [JoinStage(each, [SOURCE]).state(place) for each in (w, other)]
    assert states[0]
    assert states[1]
    kept(states[0], states[1])
    rest = msgspec.msgpack.decode(states[0].gather(2).rest)
    with pytest.raises(Newer, match="halves"):
        states[1].settle(msgspec.msgpack.encode(rest | {"version": 2}))


@pytest.mark.kafka
@pytest.mark.timeout(300)
async def test_spans_on_a_broker_become_a_page_that_names_the_operation_and_ends(
    bootstrap: str, topic: Any, tmp_path: Path
) -> None:
    """Callers on one partition, callees on the other, and all calls are joined.

    A hundred times as fast as it was lived, the calls may be over before the other partition is read: then they are told
    apart.
    """
    worker = Worker(bootstrap, await topic(2, name="otlp"), "consumer", tmp_path)
    worker.config.write_text(worker.config.read_text().replace("otlp_proto", "otlp_spans_proto, lateness: 60s"))
    seconds = HEALTHY + ILL + AFTER + 2 * LATE
    try:
        worker.start()
        await worker.until(worker.ready, "ready")
        async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
            for t in range(seconds):
                for p, value in enumerate(records(t)):
                    await producer.send(worker.source, value, partition=p, timestamp_ms=(BEGIN + t + 1) * 1000)
                await asyncio.sleep(0.01)

        async def over() -> bool:
            alerts = [json.loads(r.value) for r in await worker.read("alerts")]
            keys = [{a["dedup_key"] for a in alerts if a["event"] == event} for event in ("trigger", "resolve")]
            return keys[0] == keys[1] and "critical" in {a["severity"] for a in alerts}

        await worker.until(ours_exist(worker, over), "a page, and the end of it", 150)
        triggers = await worker.alerts("trigger")
        assert {a["group"] for a in triggers} == {"shop"}
        assert all("/pay, " in a["title"] for a in triggers)
        assert await worker.read("dead") == []

        async def all_joined() -> bool:
            blocks = [wire_points.decode(r.value) for r in await worker.read("points")]
            calls = {one.hash for block in blocks for one in block.series if one.metric == REQUESTS}
            counted = sum(block.points.value[np.isin(block.points.series, list(calls))].sum() for block in blocks)
            assert counted <= 20 * seconds
            return bool(counted == 20 * seconds)

        await worker.until(all_joined, "all calls joined", 30)
    finally:
        if worker.alive():
            worker.end(signal.SIGKILL)
