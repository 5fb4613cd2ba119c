"""Records that we write: sent together, and again while the brokers do not answer, until all are on them."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError

from anomaly.config.settings import KafkaSettings
from anomaly.decode.records import BadRecord, DeadLetter
from anomaly.host import connect
from anomaly.host.topics import LARGEST_MESSAGE

log = logging.getLogger(__name__)

Headers = list[tuple[str, bytes]]


class Message(NamedTuple):
    """A record to be written; a value of None is a tombstone."""

    topic: str
    partition: int | None
    key: bytes | None
    value: bytes | None
    headers: Headers = []


class Outputs:
    """One producer for all stages of a process.

    Not idempotent: we send again ourselves, for as long as it takes, and what is read behind us knows repeats by id.
    """

    def __init__(self, kafka: KafkaSettings, reached: Callable[[bool], None] = lambda _: None) -> None:
        self.kafka, self.reached = kafka, reached
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Connect."""
        options = connect.options(self.kafka)
        producer = AIOKafkaProducer(**options, acks="all", max_request_size=LARGEST_MESSAGE, linger_ms=0)
        try:
            await producer.start()
        except BaseException:
            await producer.stop()
            raise
        self._producer = producer

    async def stop(self) -> None:
        """Disconnect; nothing is waiting, because `send` waits."""
        if self._producer is not None:
            await self._producer.stop()

    async def send(self, messages: Sequence[Message]) -> None:
        """Return when all messages are on the brokers, in order within a partition; raises if they refuse one."""
        if messages:
            await connect.patiently(lambda: self._send(messages), f"writing to {messages[0].topic}", self.reached)

    async def _send(self, messages: Sequence[Message]) -> None:
        assert self._producer is not None, "start first"
        try:
            sent = [
                await self._producer.send(m.topic, m.value, m.key, m.partition, headers=m.headers or None) for m in messages
            ]
        except MessageSizeTooLargeError as error:
            raise BadRecord("too_large", "what follows from it does not go into one record") from error
        results = await asyncio.gather(*sent, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result


def dead_letter(topic: str, letter: DeadLetter) -> Message:
    """A dead letter as a record: the original bytes, and where they stood and why in headers."""
    said = {
        "source": letter.source, "partition": letter.partition, "offset": letter.offset, "time": letter.time,
        "reason": letter.reason, "detail": letter.detail[:1000], "bytes": len(letter.value),
    }  # fmt: skip
    headers = [(f"anomaly.{k}", str(v).encode(errors="replace")) for k, v in said.items()]
    key = f"{letter.source}/{letter.partition}/{letter.offset}".encode()
    room = LARGEST_MESSAGE - (64 << 10)  # for the headers; what is cut shows by the length in them
    return Message(topic, None, key, letter.value[:room], headers)
