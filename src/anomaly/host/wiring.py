"""What every stage of a process on Kafka is wired to."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from anomaly.config.settings import KafkaSettings
from anomaly.decode.records import DeadLetter
from anomaly.engine import Engine
from anomaly.host.blocks import Place
from anomaly.host.health import Health
from anomaly.host.outputs import Outputs, dead_letter
from anomaly.host.topics import Names

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wiring:
    """What every stage needs; `partitions` counts those of our topics."""

    kafka: KafkaSettings
    names: Names
    partitions: Mapping[str, int]
    engine: Engine
    outputs: Outputs
    health: Health

    def has(self, place: Place) -> bool:
        """Whether a partition of ours was there when we started: to one that was added since nothing is written."""
        return place.partition < self.partitions[place.topic]

    def was_added(self, place: Place) -> bool:
        """Whether it was not; says so."""
        if self.has(place):
            return False
        log.error("%s got partitions while we run; see what a start says to it", place.topic)
        return True

    async def set_aside(self, letters: Sequence[DeadLetter]) -> None:
        """Write dead letters, and count them."""
        self.health.set_aside(letters)
        await self.outputs.send([dead_letter(self.names.dead, letter) for letter in letters])
