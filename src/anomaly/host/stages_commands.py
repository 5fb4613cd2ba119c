"""What people command, as it runs on Kafka: .commands -> a copy on every partition of .anomalies and of .points.

Whatever changes a stage's state is a record on its input, so that it survives as the state does, and a replay of the input
comes to the same. Copies may come again, and mean the same then. A partition that has lost its checkpoints reads the topic
itself (`known`), which is compacted: it holds the last word about each thing.
"""

import logging
from collections.abc import Sequence

from anomaly.command.command import BadCommand, Command, Copy, Expire, Plan, Silence, read
from anomaly.config.settings import Keyed
from anomaly.decode.records import BadRecord
from anomaly.host import compacted, wire_commands
from anomaly.host.blocks import Fetched, Place
from anomaly.host.outputs import Message
from anomaly.host.posting import Posting
from anomaly.host.telling import to_json
from anomaly.host.wiring import Wiring

log = logging.getLogger(__name__)


class CommandStage:
    """Commands -> the inputs of the stages that follow them."""

    name, reads_sources, keeps_state, settles_later = "commands", False, False, False

    def __init__(self, wiring: Wiring) -> None:
        self.wiring = wiring
        self.topics: tuple[str, ...] = (wiring.names.commands,)
        self._posting = Posting(wiring.outputs.send)
        self._fused = [s.topic for s in wiring.engine.settings.sources if s.keyed is Keyed.GROUP]

    def state(self, place: Place) -> None:
        """None: what is known of commands is known behind this stage."""

    async def restore(self, places: Sequence[Place]) -> None:
        """Nothing."""

    def drop(self, place: Place) -> None:
        """Nothing is held."""

    async def take(self, block: Fetched) -> int:
        """Copy the commands of a block; what is none is set aside with its reason."""
        commands, dead = list[Command](), []
        for i in range(len(block)):
            text = block.value(i)
            try:
                if text:  # else somebody deleted one that is over
                    commands.append(read(text))
            except BadCommand as error:
                dead.append(block.dead(i, BadRecord("bad_command", str(error))))
        await self.wiring.set_aside(dead)
        for command in commands:
            log.info("command", extra={"kind": type(command).__name__.lower(), "id": command.id, "who": command.who})
            await self._posting.put(self._copies(command))
        await self._posting.all()
        return len(commands)

    def report(self) -> None:
        """Nothing but what each block said."""

    async def sent(self) -> None:
        """Copies have arrived."""
        await self._posting.all()

    async def finish(self) -> None:
        """The same: nothing else is left."""
        await self.sent()

    def _copies(self, command: Command) -> list[Message]:
        names, partitions = self.wiring.names, self.wiring.partitions
        copy = to_json(Copy(command=command))
        found = [Message(names.anomalies, p, None, copy) for p in range(partitions[names.anomalies])]
        if not is_about_learning(command):
            return found
        if self._fused and not isinstance(command, Expire):
            log.warning("%s: goes on being learned from: it is keyed by group", ", ".join(self._fused))
        block = wire_commands.written(command)
        return found + [Message(names.points, p, None, block) for p in range(partitions[names.points])]


def is_about_learning(command: Command) -> bool:
    """Whether detect has to know; of an end it is not known what ends."""
    if isinstance(command, Silence):
        return command.stops.value != "output"
    return isinstance(command, Plan | Expire)


async def known(wiring: Wiring) -> list[Command]:
    """The last word about each thing, for whoever has lost his state."""
    topic, found = wiring.names.commands, list[Command]()
    held = await compacted.read(wiring.kafka, topic, range(wiring.partitions.get(topic, 0)))
    for by_key in held.values():
        for text in by_key.values():
            try:
                found.append(read(text))
            except BadCommand:  # set aside when it came
                continue
    return found
