"""Blocks hold exactly the records that aiokafka itself reads, whatever the codec, transaction or hole."""

import asyncio
import struct
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.consumer import fetcher
from aiokafka.record._crecords.cutil import crc32c_cython
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly.host import blocks
from anomaly.host.blocks import BLOCKS, BlockReader, Fetched

Row = tuple[int, int, bytes | None]
MakeTopic = Callable[..., Awaitable[str]]
PLACE = TopicPartition("t", 0)


def batch(values: Sequence[bytes | None], base: int = 0, codec: int = 0, time: int = 1_700_000_000_000) -> bytes:
    """A record batch as a producer writes it, moved to offset `base` (which the checksum does not cover)."""
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 1 << 28)
    for i, value in enumerate(values):
        builder.append(i, time + i, b"key", value, [("header", b"x")])
    return struct.pack(">q", base) + bytes(builder.build())[8:]


def rows(found: Sequence[Fetched]) -> list[Row]:
    return [
        (int(b.offset[i]), int(b.time[i]), None if b.value_len[i] < 0 else b.value(i)) for b in found for i in range(len(b))
    ]


async def read(
    bootstrap: str, topic: str, isolation: str, start: int, as_blocks: bool, reset: str = "latest"
) -> tuple[list[Row], int]:
    """What a consumer from `start` to the end gives, and the position that it reaches."""
    blocks.install()
    deserializer = BLOCKS if as_blocks else None
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, value_deserializer=deserializer, isolation_level=isolation, enable_auto_commit=False,
        auto_offset_reset=reset,
    )  # fmt: skip
    await consumer.start()
    try:
        place = TopicPartition(topic, 0)
        consumer.assign([place])
        consumer.seek(place, start)
        end = (await consumer.end_offsets([place]))[place]
        found: list[Row] = []
        while await consumer.position(place) < end:
            for got in (await consumer.getmany(timeout_ms=200)).values():
                found += rows(got) if as_blocks else [(r.offset, r.timestamp, r.value) for r in got]
        return found, await consumer.position(place)
    finally:
        await consumer.stop()


async def fill(
    bootstrap: str,
    topic: str,
    codec: str | None,
    n: int = 200,
    transaction: str | None = None,
    time: int = 1_700_000_000_000,
) -> None:
    """`n` records, some null and with headers; an aborted transaction where one is named so."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, compression_type=codec, transactional_id=transaction, linger_ms=5
    )
    await producer.start()
    try:
        if transaction:
            await producer.begin_transaction()
        sent = [
            await producer.send(
                topic, None if i % 7 == 0 else f"{codec} {i} ".encode() * (i % 50 + 1), key=b"k" * (i % 3), partition=0,
                timestamp_ms=time + i, headers=[("h", b"v")] * (i % 2),
            )
            for i in range(n)
        ]  # fmt: skip
        await producer.flush()
        await asyncio.gather(*sent)
        if transaction:
            await (producer.abort_transaction() if "abort" in transaction else producer.commit_transaction())
    finally:
        await producer.stop()


@pytest.mark.kafka
@pytest.mark.parametrize("isolation", ["read_committed", "read_uncommitted"])
async def test_blocks_equal_the_records_that_aiokafka_reads(bootstrap: str, topic: MakeTopic, isolation: str) -> None:
    """All codecs, null values, headers, transactions, a deleted head, three starts: the same records and position."""
    name = await topic()
    for codec in (None, "gzip", "snappy", "lz4", "zstd"):
        await fill(bootstrap, name, codec)
    await fill(bootstrap, name, "zstd", transaction=f"commit-{name}")
    await fill(bootstrap, name, "lz4", transaction=f"abort-{name}")
    await fill(bootstrap, name, None, transaction=f"commit-2-{name}")
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.delete_records({TopicPartition(name, 0): RecordsToDelete(before_offset=30)})
    await admin.close()
    for start in (30, 137, 1203):
        expected = await read(bootstrap, name, isolation, start, as_blocks=False)
        assert len(expected[0]) > 100
        assert await read(bootstrap, name, isolation, start, as_blocks=True) == expected


@pytest.mark.kafka
@pytest.mark.parametrize("codec", [None, "gzip", "snappy", "lz4", "zstd"])
async def test_the_brokers_clock_is_the_time_where_the_topic_says_so(
    bootstrap: str, topic: MakeTopic, codec: str | None
) -> None:
    """message.timestamp.type=LogAppendTime, which the broker writes into the head of a batch, whatever its codec."""
    name = await topic(message_timestamp_type="LogAppendTime")
    await fill(bootstrap, name, codec)
    expected = await read(bootstrap, name, "read_uncommitted", 0, as_blocks=False)
    assert await read(bootstrap, name, "read_uncommitted", 0, as_blocks=True) == expected
    assert all(time != 1_700_000_000_000 + offset for offset, time, _ in expected[0])


@pytest.mark.kafka
async def test_holes_left_by_compaction_are_stepped_over(bootstrap: str, topic: MakeTopic) -> None:
    """A compacted topic lacks offsets inside of batches and at their ends; position and records stay aiokafka's."""
    name = await topic(
        cleanup_policy="compact", segment_ms="100", min_cleanable_dirty_ratio="0.0", max_compaction_lag_ms="100",
        min_compaction_lag_ms="0",
    )  # fmt: skip
    for i in range(3):
        await fill(bootstrap, name, "lz4", time=1_700_000_000_000 + i * 1000)
    for _ in range(100):
        expected = await read(bootstrap, name, "read_uncommitted", 0, as_blocks=False)
        if len(expected[0]) < 600:
            break
        await asyncio.sleep(0.2)
    assert len(expected[0]) < expected[1], "the broker did not compact"
    while True:  # until nothing was compacted between
        found = await read(bootstrap, name, "read_uncommitted", 0, as_blocks=True)
        again = await read(bootstrap, name, "read_uncommitted", 0, as_blocks=False)
        if again == expected:
            break
        expected = again
    assert found == expected


async def equal_from(bootstrap: str, topic: str, starts: Sequence[int]) -> None:
    """From each start and under both isolation levels, blocks are what aiokafka reads."""
    for isolation in ("read_committed", "read_uncommitted"):
        for start in starts:
            expected = await read(bootstrap, topic, isolation, start, as_blocks=False)
            assert await read(bootstrap, topic, isolation, start, as_blocks=True) == expected, (isolation, start)


@pytest.mark.kafka
async def test_interleaved_transactions_are_told_apart(bootstrap: str, topic: MakeTopic) -> None:
    """Two producers abort and commit in turn, a third writes without a transaction; starts within and between them."""
    name = await topic()
    a, b, plain = (
        AIOKafkaProducer(bootstrap_servers=bootstrap, compression_type=codec, transactional_id=transaction)
        for codec, transaction in (("lz4", f"a-{name}"), ("zstd", f"b-{name}"), ("gzip", None))
    )
    for producer in (a, b, plain):
        await producer.start()

    async def send(producer: AIOKafkaProducer, text: str, n: int) -> None:
        for i in range(n):
            await producer.send_and_wait(name, f"{text}{i}".encode(), partition=0, timestamp_ms=1_700_000_000_000 + i)

    try:
        await a.begin_transaction()
        await send(a, "aborted ", 3)
        await b.begin_transaction()
        await send(b, "kept ", 2)
        await send(plain, "plain ", 2)
        await a.abort_transaction()
        await a.begin_transaction()
        await send(a, "kept as well ", 2)
        await send(b, "kept ", 1)
        await a.commit_transaction()
        await b.commit_transaction()
        await b.begin_transaction()
        await send(b, "aborted too ", 2)
        await a.begin_transaction()
        await send(a, "aborted again ", 2)
        await b.abort_transaction()
        await a.abort_transaction()
        await send(plain, "the end ", 1)
    finally:
        for producer in (a, b, plain):
            await producer.stop()

    kept, end = await read(bootstrap, name, "read_committed", 0, as_blocks=True)
    assert not [value for _, _, value in kept if value and value.startswith(b"aborted")]
    assert (len(kept), end) == (8, 20)  # of 15 records and 5 markers
    await equal_from(bootstrap, name, range(20))


@pytest.mark.kafka
async def test_a_hole_inside_of_a_batch_keeps_the_offsets_of_its_neighbours(bootstrap: str, topic: MakeTopic) -> None:
    """Three keys of ten are written again, so compaction takes the middle of a batch; a start may lie in the hole."""
    name = await topic(
        cleanup_policy="compact", segment_ms="100", min_cleanable_dirty_ratio="0.0", max_compaction_lag_ms="100",
        min_compaction_lag_ms="0",
    )  # fmt: skip
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, compression_type="lz4") as producer:
        for i, keys in enumerate((range(10), range(3, 6), range(20, 21))):
            made = producer.create_batch()
            for key in keys:
                time = 1_700_000_000_000 + 1000 * i + key
                made.append(key=b"%d" % key, value=None if key == 7 else b"v" * (key + 1), timestamp=time)
            made.close()
            await (await producer.send_batch(made, name, partition=0))
            await asyncio.sleep(0.2)  # segments end by the broker's clock as well
    async with asyncio.timeout(30):
        while len((await read(bootstrap, name, "read_uncommitted", 0, as_blocks=False))[0]) > 11:
            await asyncio.sleep(0.2)
    left = [offset for offset, _, _ in (await read(bootstrap, name, "read_uncommitted", 0, as_blocks=True))[0]]
    assert [offset for offset in left if offset < 10 and offset != 7] == [0, 1, 2, 6, 8, 9]
    await equal_from(bootstrap, name, (0, 2, 3, 4, 5, 6, 10, 12))


@pytest.mark.kafka
async def test_what_retention_took_is_stepped_over(bootstrap: str, topic: MakeTopic) -> None:
    """A position below the topic's first record goes on at that record, for both ways of reading."""
    name = await topic()
    await fill(bootstrap, name, "snappy", n=50)
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.delete_records({TopicPartition(name, 0): RecordsToDelete(before_offset=31)})
    await admin.close()
    (first, *_), end = await read(bootstrap, name, "read_committed", 0, as_blocks=True, reset="earliest")
    assert (first[0], end) == (31, 50)
    for start in (0, 30, 31, 40):
        expected = await read(bootstrap, name, "read_committed", start, as_blocks=False, reset="earliest")
        assert await read(bootstrap, name, "read_committed", start, as_blocks=True, reset="earliest") == expected


@pytest.mark.kafka
async def test_another_consumer_in_the_process_still_gets_records(bootstrap: str, topic: MakeTopic) -> None:
    """Only a consumer made with BLOCKS reads blocks."""
    name = await topic()
    await fill(bootstrap, name, "zstd", n=3)
    blocks.install()
    async with AIOKafkaConsumer(name, bootstrap_servers=bootstrap, auto_offset_reset="earliest") as consumer:
        assert (await consumer.getone()).timestamp == 1_700_000_000_000


def test_a_block_is_closed_at_its_size_and_covers_its_range() -> None:
    """Blocks follow one another without a gap, each about BLOCK_BYTES, whole batches only."""
    raw = b"".join(batch([bytes(1 << 20)] * 3, base=3 * i) for i in range(4))
    found = list(BlockReader(PLACE, raw, None, 0))
    assert [(b.first_offset, b.next_offset) for b in found] == [(0, 6), (6, 12)]


def test_a_fetch_may_begin_inside_of_a_batch() -> None:
    """Records below the position were read before; they are not given again."""
    (block,) = BlockReader(PLACE, batch([b"a", b"b", b"c"], base=10), None, 11)
    assert rows([block]) == [(11, 1_700_000_000_001, b"b"), (12, 1_700_000_000_002, b"c")]
    assert (block.first_offset, block.next_offset) == (11, 13)


def test_a_cut_batch_at_the_end_of_a_fetch_is_left_for_the_next_one() -> None:
    """Brokers fill a fetch to the byte."""
    raw = batch([b"a"]) + batch([b"b"], base=1)[:-3]
    (block,) = BlockReader(PLACE, raw, None, 0)
    assert rows([block]) == [(0, 1_700_000_000_000, b"a")]
    assert block.next_offset == 1


@pytest.mark.parametrize("codec", [0, 1, 2, 3, 4])
def test_a_batch_with_a_wrong_checksum_is_set_aside_and_the_next_is_read(codec: int) -> None:
    """A partition does not stop for ever at rotten bytes; they are kept, with where they stood."""
    rotten = bytearray(batch([b"a" * 100, b"b"], base=5, codec=codec))
    rotten[70] ^= 0xFF
    (block,) = BlockReader(PLACE, bytes(rotten) + batch([b"c"], base=7), None, 5)
    assert rows([block]) == [(7, 1_700_000_000_000, b"c")]
    assert [(d.offset, d.reason, d.value) for d in block.damaged] == [(5, "bad_crc", bytes(rotten))]
    (last,) = BlockReader(PLACE, bytes(rotten), None, 5)
    assert (len(last), last.next_offset) == (0, 7)


def resealed(raw: bytes) -> bytes:
    """The batch with the checksum that its bytes have now."""
    return raw[:17] + struct.pack(">I", crc32c_cython(raw[21:])) + raw[21:]


def test_a_batch_that_claims_more_records_than_bytes_is_damaged() -> None:
    """The count is believed only as far as the bytes allow: it sizes arrays."""
    raw = batch([b"a"])
    (block,) = BlockReader(PLACE, resealed(raw[:57] + struct.pack(">i", 1 << 30) + raw[61:]), None, 0)
    assert [d.reason for d in block.damaged] == ["bad_record"]


def test_stages_that_read_at_the_same_time_do_not_disturb_each_other() -> None:
    """Each stage's consumer decompresses in a thread of its own, while the others run."""

    def reads_its_own(mark: int) -> bool:
        values = [bytes([mark, k]) * (1 << 17) for k in range(16)]
        raw = b"".join(batch(values[i : i + 4], base=i, codec=3) for i in range(0, 16, 4))
        read = [value for _ in range(10) for found in BlockReader(PLACE, raw, None, 0) for _, _, value in rows([found])]
        return read == values * 10

    with ThreadPoolExecutor(4) as stages:
        assert all(stages.map(reads_its_own, range(4)))


@pytest.mark.parametrize("codec", [1, 2, 3, 4])
def test_a_decompression_bomb_stops_at_the_limit(codec: int) -> None:
    """80 MB of zeros in some kilobytes."""
    (block,) = BlockReader(PLACE, batch([bytes(10 << 20)] * 8, codec=codec), None, 0)
    assert [d.reason for d in block.damaged] == ["too_large"]
    assert block.next_offset == 8


@given(st.binary(max_size=80), st.integers(61, 200), st.sampled_from([0, 1, 2, 3, 4]))
@settings(max_examples=200, deadline=None)
def test_no_bytes_crash_the_scan(noise: bytes, at: int, codec: int) -> None:
    """Whatever stands in a batch with a right checksum: records in the batch's bytes, or damage; and it moves on."""
    raw = bytearray(batch([b"a" * 40, None, b"c" * 40], codec=codec))
    raw[at : at + len(noise)] = noise[: max(len(raw) - at, 0)]
    (block,) = BlockReader(PLACE, resealed(bytes(raw)), None, 0)
    assert block.next_offset == 3
    assert len(block) + 3 * len(block.damaged) <= 3
    for i in range(len(block)):
        assert 0 <= block.value_at[i] <= block.value_at[i] + max(block.value_len[i], 0) <= block.buffer.size


def test_the_names_we_replace_in_aiokafka_are_there() -> None:
    """A new version may rename them: then this fails first."""
    assert blocks._PartitionRecords.__init__.__code__.co_varnames[1:9] == (
        "tp", "records", "aborted_transactions", "fetch_offset", "key_deserializer", "value_deserializer", "check_crcs",
        "isolation_level",
    )  # fmt: skip
    names = fetcher.Fetcher._proc_fetch_request.__code__.co_names
    assert {"MemoryRecords", "PartitionRecords", "has_next", "size_in_bytes"} <= set(names)
    assert blocks.RawRecords(b"xyz").raw == b"xyz"
