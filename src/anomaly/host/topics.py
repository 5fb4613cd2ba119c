"""Our own topics: made if we may, else checked, so that a start says exactly what is missing; sources are waited for.

Partition p of .alerts, .incidents and .anomalies belong together (the incidents of its environments), as do partition p
of .points and .state.open (the groups of it): they must have as many partitions as one another.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.errors import InvalidPartitionsError, KafkaError, TopicAuthorizationFailedError, for_code
from msgspec import structs

from anomaly.config.settings import KafkaSettings
from anomaly.host import connect

log = logging.getLogger(__name__)

LARGEST_MESSAGE = 4 << 20  # bytes: a storm's incident, with the evidence of every series, or a dead letter
COMPACTED = {"cleanup.policy": "compact", "max.message.bytes": str(LARGEST_MESSAGE)}
DAY = 86_400_000


class MissingTopics(Exception):
    """Topics that we need are not there, or not as we need them; the message names each, and the command that makes it."""


class Names(NamedTuple):
    """Names of our topics."""

    points: str
    anomalies: str
    alerts: str
    incidents: str
    dead: str
    open: str
    commands: str

    @classmethod
    def of(cls, prefix: str) -> "Names":
        """`anomaly.points` and so on."""
        own = ("points", "anomalies", "alerts", "incidents", "dead", "state.open", "commands")
        return cls(*(f"{prefix}.{name}" for name in own))

    def state_of(self, topic: str) -> str:
        """The topic that keeps the state of the stage that reads a topic: anomaly.state.points of anomaly.points."""
        own = self.points.rpartition(".")[0]
        return f"{own}.state.{topic.removeprefix(own + '.')}"

    @property
    def spans(self) -> str:
        """The topic of spans on their way to be joined, there only where traces are read."""
        return f"{self.points.rpartition('.')[0]}.spans"

    def configs(self) -> dict[str, dict[str, str]]:
        """How each is kept. Points are read within seconds: a day is for the one who looks into an outage of ours."""
        large = {"max.message.bytes": str(LARGEST_MESSAGE)}
        return {
            self.points: large | {"retention.ms": str(DAY)},
            self.anomalies: large | {"retention.ms": str(7 * DAY)},
            self.alerts: large | {"retention.ms": str(30 * DAY)},
            self.incidents: COMPACTED,
            self.dead: large | {"retention.ms": str(7 * DAY)},
            self.open: COMPACTED,
            self.commands: COMPACTED,
        }

    def alike(self) -> tuple[tuple[str, ...], ...]:
        """Topics that must have equal partition counts."""
        return (self.points, self.open), (self.anomalies, self.alerts, self.incidents)


async def prepare(kafka: KafkaSettings, names: Names, traces: bool = False) -> dict[str, int]:
    """Partition counts of our topics, which are there and as they must be afterwards; else raises MissingTopics."""
    async with connect.admin(kafka) as client:
        wanted = names.configs() | ({names.spans: names.configs()[names.points]} if traces else {})
        found = await _counts(client, list(wanted))
        missing = [t for t in wanted if t not in found]
        if missing and kafka.topics.create:
            await _create(client, kafka, {t: wanted[t] for t in missing})
            found = await _until_there(client, list(wanted))
            missing = [t for t in wanted if t not in found]
    faults = [_command(kafka, t, wanted[t]) for t in missing] + _unlike(names, found)
    if faults:
        raise MissingTopics("our own topics are not as they must be:\n  " + "\n  ".join(faults))
    return found


async def prepare_state(kafka: KafkaSettings, topic: str, of: str, grows: bool = False) -> None:
    """A topic for the checkpoints of a stage that reads the topic `of`; raises MissingTopics where we may not make it.

    One that `grows` with the topic `of` gets its partitions later (`growth`).

    A log whose low end we move ourselves (so `delete`, without which that is refused), in segments small enough that
    what is freed is freed soon; retention by age or size would delete what still is the state.
    """
    kept = {
        "cleanup.policy": "compact,delete",
        "retention.ms": "-1",
        "retention.bytes": "-1",
        "segment.bytes": str(64 << 20),
    }
    wanted = {topic: kept | {"max.message.bytes": str(LARGEST_MESSAGE)}}
    async with connect.admin(kafka) as client:
        partitions = (await _until_there(client, [of]))[of]
        plan = structs.replace(kafka, topics=structs.replace(kafka.topics, partitions=partitions))
        found = await _counts(client, [topic])
        if topic not in found and kafka.topics.create:
            await _create(client, plan, wanted)
            found = await _until_there(client, [topic])
    if topic not in found:
        raise MissingTopics(f"our own topics are not as they must be:\n  {_command(plan, topic, wanted[topic])}")
    if found[topic] < partitions and not (grows and kafka.topics.create):
        raise MissingTopics(_too_few(topic, found[topic], of, partitions, grows))


def _too_few(topic: str, kept: int, of: str, partitions: int, grows: bool) -> str:
    """What is to be done about partitions that were added."""
    if grows:
        return f"{topic} has {kept} partitions and needs {partitions}: add the others"
    return (
        f"{of} has {partitions} partitions, and what was learned of it is on {kept}: none can be added to it, for its keys "
        f"would leave what is known of them; {_again(of, kept)}"
    )


def _again(topic: str, partitions: int) -> str:
    """How a topic of ours loses partitions that were added to it."""
    return (
        f"when it is read to its end stop all workers, delete {topic} alone, and have it made again with {partitions} "
        f"partitions (topics.partitions: {partitions})"
    )


async def counts(kafka: KafkaSettings, topics: Sequence[str]) -> dict[str, int]:
    """How many partitions each of these topics has; those that are not there are left out."""
    async with connect.admin(kafka) as client:
        return await _counts(client, list(topics))


async def widen(kafka: KafkaSettings, topic: str, partitions: int) -> None:
    """Let a topic of ours have so many partitions, if we may."""
    try:
        if not kafka.topics.create:
            raise TopicAuthorizationFailedError("topics.create is off")
        async with connect.admin(kafka) as client:
            await client.create_partitions({topic: NewPartitions(partitions)})
    except InvalidPartitionsError:
        log.info("another worker has added partitions to %s", topic)
    except KafkaError as error:
        if connect.passing(error):
            raise
        log.error("%s needs %d partitions, else what is new is not judged: add the others (%s)", topic, partitions, error)


async def partitions_of(kafka: KafkaSettings, topic: str) -> int:
    """How many partitions a topic has; 0 where it is not there."""
    return (await counts(kafka, [topic])).get(topic, 0)


async def await_sources(
    kafka: KafkaSettings, topics: Sequence[str], say: Callable[[str], None] = log.warning, every: float = 10.0
) -> None:
    """Return when all source topics exist; names those that do not, every ten seconds."""
    async with connect.admin(kafka) as client:
        while missing := sorted(set(topics) - set(await client.list_topics())):
            say(f"waiting for {' and '.join(missing)}: not on {', '.join(kafka.bootstrap)} yet; is its sender running?")
            await asyncio.sleep(every)


async def _counts(client: AIOKafkaAdminClient, topics: list[str]) -> dict[str, int]:
    there = set(await client.list_topics()) & set(topics)
    described = await client.describe_topics(sorted(there)) if there else []
    return {d["topic"]: len(d["partitions"]) for d in described if not d["error_code"]}


async def _until_there(client: AIOKafkaAdminClient, topics: list[str]) -> dict[str, int]:
    """Brokers know of a new topic some moments after its creation was confirmed."""
    for _ in range(50):
        found = await _counts(client, topics)
        if len(found) == len(topics):
            break
        await asyncio.sleep(0.2)
    return found


async def _create(client: AIOKafkaAdminClient, kafka: KafkaSettings, wanted: Mapping[str, dict[str, str]]) -> None:
    """Make topics. Another worker may be faster, and a refusal shows as still missing."""
    plan = kafka.topics
    new = [NewTopic(t, plan.partitions, plan.replication, topic_configs=c) for t, c in wanted.items()]
    answer = await client.create_topics(new)
    for topic, code, *detail in answer.topic_errors:
        if code and for_code(code).__name__ != "TopicAlreadyExistsError":
            log.warning("cannot create %s: %s %s", topic, for_code(code).__name__, detail[0] if detail else "")


def _command(kafka: KafkaSettings, topic: str, configs: Mapping[str, str]) -> str:
    options = " ".join(f"--config {k}={v}" for k, v in configs.items())
    plan = kafka.topics
    sizes = f"--partitions {plan.partitions} --replication-factor {plan.replication}"
    tool = f"kafka-topics.sh --bootstrap-server {kafka.bootstrap[0]} --create"
    return f"{topic} is missing: {tool} --topic {topic} {sizes} {options}"


def _unlike(names: Names, found: Mapping[str, int]) -> list[str]:
    """Topics that belong together and do not have as many partitions."""
    faults = []
    for alike in names.alike():
        counts = {t: found[t] for t in alike if t in found}
        if len(set(counts.values())) > 1:
            said, least = ", ".join(f"{t} has {n}" for t, n in counts.items()), min(counts.values())
            faults.append(f"partition counts must be equal: {said}; {_again('what has more', least)}")
    return faults
