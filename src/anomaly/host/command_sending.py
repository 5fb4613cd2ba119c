"""How a command gets from a terminal to the detector, and what is known there: by the topic, or without Kafka by HTTP."""

import asyncio
import urllib.error
import urllib.request
from collections.abc import Sequence

import msgspec

from anomaly.command.command import BadCommand, Command, encode, read
from anomaly.config.settings import KafkaSettings, OtlpReceiver, Settings

PATH = "/commands"
PATIENCE = 10.0  # seconds
JSON = "application/json"


class Unreachable(Exception):
    """Nobody took the command; the message says what to do."""


def send(settings: Settings, command: Command) -> None:
    """Return when it is where it will be followed; raises Unreachable."""
    if settings.kafka is not None:
        asyncio.run(_to_topic(settings.kafka, command))
    else:
        _ask(settings, encode(command))


def held(settings: Settings) -> list[Command]:
    """The last word about each thing, in the order in which they were said; raises Unreachable."""
    if settings.kafka is not None:
        found = asyncio.run(_in_topic(settings.kafka))
    else:
        found = [read(bytes(raw)) for raw in msgspec.json.decode(_ask(settings), type=list[msgspec.Raw])]
    return sorted(found, key=lambda c: (c.time, c.id))


async def _to_topic(kafka: KafkaSettings, command: Command) -> None:
    from anomaly.host.outputs import Message, Outputs

    topic, _ = await _topic(kafka)
    outputs = Outputs(kafka)
    await outputs.start()
    try:
        await outputs.send([Message(topic, None, command.id.encode(), encode(command))])
    finally:
        await outputs.stop()


async def _in_topic(kafka: KafkaSettings) -> list[Command]:
    from anomaly.host import compacted

    topic, partitions = await _topic(kafka)
    by_partition = await compacted.read(kafka, topic, range(partitions))
    return readable([text for by_key in by_partition.values() for text in by_key.values()])


def readable(texts: Sequence[bytes]) -> list[Command]:
    """Those that are commands: the others were set aside when they came."""
    found = []
    for text in texts:
        try:
            found.append(read(text))
        except BadCommand:
            continue
    return found


async def _topic(kafka: KafkaSettings) -> tuple[str, int]:
    """Its name and partitions."""
    from anomaly.host.topics import Names, partitions_of

    topic = Names.of(kafka.topics.prefix).commands
    partitions = await partitions_of(kafka, topic)
    if not partitions:
        raise Unreachable(f"{topic} is not on {', '.join(kafka.bootstrap)}: `anomaly run` makes it when it starts")
    return topic, partitions


def _ask(settings: Settings, body: bytes | None = None) -> bytes:
    listen = (settings.otlp or OtlpReceiver()).listen
    request = urllib.request.Request(f"http://{listen}{PATH}", data=body, headers={"Content-Type": JSON})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        raise Unreachable(error.read().decode(errors="replace")) from None
    except OSError as error:
        raise Unreachable(f"nobody listens on {listen} ({error}): is `anomaly run` running there?") from None
