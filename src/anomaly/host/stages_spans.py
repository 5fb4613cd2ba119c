"""Traces on Kafka: sources -> operations to .points, spans and lines of logs to .spans by trace id -> calls between services
and steps within them to .points.

A trace's spans come in records of several services, on several partitions, as senders like it. So what a span says of its
operation is said where it is decoded, and what two halves say together where they meet: on the partition of their trace.
The halves that wait there are state: a restart loses no call, and takes none twice. A span that is passed on again by a
restarted decoder is known by its id.
"""

from collections.abc import Sequence

from anomaly.config.settings import SourceSettings
from anomaly.decode.block import Block
from anomaly.decode.spans_keep import KeptJoin
from anomaly.decode.spans_traces import TRACES, Passed, of_wire
from anomaly.decode.spans_wire import PassedLines
from anomaly.decode.stage import Decode
from anomaly.host.blocks import Place
from anomaly.host.outputs import Message
from anomaly.host.stages import DecodeStage
from anomaly.host.wiring import Wiring
from anomaly.state import Stateful

LOGS = frozenset({"json_logs", "otlp_logs_json", "otlp_logs_proto", "text_logs"})
JOINED = "spans"  # what the encoding of .spans is called; no configuration can name it


def traced(sources: Sequence[SourceSettings]) -> list[SourceSettings]:
    """The sources whose records are put together by trace: those of spans, and of lines if there are any or sessions."""
    if not any(source.encoding in TRACES or source.session_key for source in sources):
        return []
    return [source for source in sources if source.encoding in TRACES | LOGS]


class SpansStage(DecodeStage):
    """Sources of traces and lines -> points by group; spans and lines by trace. A block is settled when both are there."""

    name = "spans"

    def __init__(self, wiring: Wiring, sources: Sequence[SourceSettings]) -> None:
        super().__init__(wiring, sources)
        self._passed: list[Passed | PassedLines] = []
        self._decoder.passed = self._passed

    async def _send(self, found: Sequence[tuple[int, Block]]) -> None:
        topic = self.wiring.names.spans
        waiting, self._passed[:] = list(self._passed), []
        for passed in waiting:
            records = passed.records(self.wiring.partitions[topic])
            await self.wiring.outputs.send([Message(topic, p, None, value) for p, value in records])
        await super()._send(found)


class JoinStage(DecodeStage):
    """Spans by trace -> points of calls by the callee's group. A partition has a decoder of its own, whose state is kept."""

    name, reads_sources, keeps_state, settles_later = "join", False, True, False

    def __init__(self, wiring: Wiring, sources: Sequence[SourceSettings]) -> None:
        lateness = max((source.lateness for source in sources), default=0.0)
        super().__init__(wiring, [SourceSettings(topic=wiring.names.spans, encoding=JOINED, lateness=lateness)])
        self._decoders: dict[Place, Decode] = {}

    def state(self, place: Place) -> Stateful | None:
        """The halves of calls that wait on this partition."""
        if self.wiring.was_added(place):
            return None
        settings, traces = self.wiring.engine.settings, of_wire()
        traces.limits = settings.limits
        made = Decode(settings, self.wiring.partitions[self.wiring.names.points], encodings={JOINED: traces})
        self._decoders[place] = made
        assert made.steps is not None
        return KeptJoin(traces, made.steps, made.catalog.identity, place.topic, place.partition)

    def decoder(self, place: Place) -> Decode:
        """The partition's."""
        if place not in self._decoders:
            self.state(place)
        return self._decoders[place]

    def drop(self, place: Place) -> None:
        """Another worker's traces."""
        super().drop(place)
        self._decoders.pop(place, None)

    async def sent(self) -> None:
        """The points of what was taken are on the brokers."""
        await self.finish()
