"""The whole walk of a data point, written once, in order: decode, detect, correlate, dispatch.

Plain synchronous functions; time is in the data. Two hosts drive it: Kafka, which puts a topic between the stages, and
the embedded one, which calls `process`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from msgspec import structs

from anomaly.command.command import Command, Copy
from anomaly.command.commands import Commands
from anomaly.config.models import ModelSpec
from anomaly.config.settings import Settings, SourceSettings
from anomaly.correlate.correlator import Correlator
from anomaly.correlate.incident import Incident
from anomaly.decode import steps_keep
from anomaly.decode.block import Block
from anomaly.decode.records import DeadLetter, Records
from anomaly.decode.stage import Decode
from anomaly.detect.beside import Said
from anomaly.detect.detector import Detector
from anomaly.detect.keep import Beside
from anomaly.dispatch.alert import Alert
from anomaly.dispatch.budgets import Budgets
from anomaly.dispatch.decide import Dispatcher

PAST_LIMIT = "commands_past_limit"  # commands that were not followed, because too many are known


class Engine:
    """One process's part of the pipeline; `partitions` is the number of partitions of anomaly.points."""

    def __init__(self, settings: Settings, specs: Sequence[ModelSpec], partitions: int = 1) -> None:
        self.settings, self.specs, self.partitions = settings, tuple(specs), partitions
        self._decode = Decode(settings, partitions)
        self._detectors: dict[int, Detector] = {}
        self._correlators: dict[int, Correlator] = {}
        self._budgets: dict[int, Budgets] = {}
        self._commands: dict[int, Commands] = {}
        self.dispatcher = Dispatcher(settings)

    def decode(self, source: SourceSettings, records: Records) -> tuple[list[tuple[int, Block]], list[DeadLetter]]:
        """Blocks by partition of anomaly.points (a tick where the partition has no point), and what was set aside."""
        return self._decode.blocks(source, records)

    def open_traces(self) -> bytes:
        """What decode holds of them, for a checkpoint."""
        return steps_keep.dump(self._decode)

    def go_on(self, open_traces: bytes) -> None:
        """With these; what came after they were written may be lost."""
        steps_keep.load(self._decode, open_traces, lost=True)

    @property
    def overflow(self) -> int:
        """Points of series past the limit, since the start: neither judged nor set aside, only counted."""
        return self._decode.overflow

    @property
    def counts(self) -> Counter[str]:
        """What decode counted besides what was judged, since the start."""
        return self._decode.counts

    def detect(self, partition: int, block: Block) -> list[Said]:
        """What opened, grew or closed, in event order, and how far the time went on."""
        return self.detector(partition).detect(block)

    def correlate(self, partition: int, events: Iterable[Said | Copy]) -> list[tuple[Incident, Alert | None]]:
        """Incidents that changed, in order, each with the alert to send about the change, if any."""
        correlator, budgets, commands = self.correlator(partition), self.budgets(partition), self.commands(partition)
        found: list[tuple[Incident, Alert | None]] = []
        for event in events:
            if isinstance(event, Copy):
                if not commands.take(event.command):
                    self.dispatcher.suppressed[PAST_LIMIT] += 1
            else:
                changed = correlator.update([event])
                found += [(incident, self.dispatcher.decide(incident, budgets, commands)) for incident in changed]
            if len(commands) and commands.turned(now := correlator.now):
                found += self._due(partition, now)
        return found

    def _due(self, partition: int, now: int) -> Iterator[tuple[Incident, Alert]]:
        """What was withheld from people and lasts, where a silence is over, or a team was switched."""
        budgets, commands = self.budgets(partition), self.commands(partition)
        for incident in self.correlator(partition).open_incidents:
            if incident.told.silenced or incident.told.would:
                lasting = structs.replace(incident, time=max(now, incident.time))
                if alert := self.dispatcher.again(lasting, budgets, commands):
                    yield lasting, alert

    def command(self, command: Command) -> list[tuple[Incident, Alert | None]]:
        """Follow a command everywhere, for whoever has all partitions and no topics between; as `correlate`."""
        for partition in range(self.partitions):
            self.detector(partition).command(command)
        return self.correlate(0, [Copy(command=command)])

    def judge(self, blocks: Iterable[tuple[int, Block]]) -> list[tuple[Incident, Alert | None]]:
        """All stages after decode in one go."""
        return self.correlate(0, [event for partition, block in blocks for event in self.detect(partition, block)])

    def process(self, source: SourceSettings, records: Records) -> tuple[list[Alert], list[DeadLetter]]:
        """All stages in one go."""
        blocks, dead = self.decode(source, records)
        return [alert for _, alert in self.judge(blocks) if alert], dead

    def detector(self, partition: int, beside: Beside | None = None) -> Detector:
        """The detector of a partition of anomaly.points; made at first use, with what is to be kept beside it."""
        if partition not in self._detectors:
            self._detectors[partition] = Detector(partition, self.specs, self.settings, beside)
        return self._detectors[partition]

    def correlator(self, partition: int) -> Correlator:
        """The correlator of a partition of anomaly.anomalies; made at first use."""
        if partition not in self._correlators:
            self._correlators[partition] = Correlator(self.settings.correlation, self.dispatcher.holds)
        return self._correlators[partition]

    def budgets(self, partition: int) -> Budgets:
        """The alert budgets of the environments on a partition of anomaly.anomalies; made at first use."""
        if partition not in self._budgets:
            self._budgets[partition] = Budgets(self.settings.alert_budget)
        return self._budgets[partition]

    def commands(self, partition: int) -> Commands:
        """The commands that a partition of anomaly.anomalies knows; made at first use."""
        return self._commands.setdefault(partition, Commands())

    def drop(self, partition: int) -> None:
        """Forget a partition that another worker owns now."""
        self._detectors.pop(partition, None)

    def drop_incidents(self, partition: int) -> None:
        """Forget the incidents, budgets and commands of a partition that another worker owns now."""
        self._commands.pop(partition, None)
        self._correlators.pop(partition, None)
        self._budgets.pop(partition, None)
