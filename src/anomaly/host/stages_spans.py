"""Traces on Kafka: sources -> operations to .points, spans to .spans by trace id -> calls between services to .points.

A trace's spans come in records of several services, on several partitions, as senders like it. So what a span says of its
operation is said where it is decoded, and what two halves say together where they meet: on the partition of their trace.
Neither stage keeps state: after a restart calls whose halves lie on both sides of it are not counted, as those of which a
half was never sent. A span that is passed on twice is known by its id.
"""

from collections.abc import Sequence

from anomaly.config.settings import SourceSettings
from anomaly.decode.block import Block
from anomaly.decode.spans_traces import Passed, of_wire
from anomaly.decode.stage import Decode
from anomaly.host.outputs import Message
from anomaly.host.stages import DecodeStage
from anomaly.host.wiring import Wiring

JOINED = "spans"  # what the encoding of .spans is called; no configuration can name it


class SpansStage(DecodeStage):
    """Sources of traces -> points of operations by group, and spans by trace. A block is settled when both are there."""

    name = "spans"

    def __init__(self, wiring: Wiring, sources: Sequence[SourceSettings]) -> None:
        super().__init__(wiring, sources)
        self._passed: list[Passed] = []
        self._decoder.passed = self._passed

    async def _send(self, found: Sequence[tuple[int, Block]]) -> None:
        topic = self.wiring.names.spans
        waiting, self._passed[:] = list(self._passed), []
        for passed in waiting:
            records = passed.records(self.wiring.partitions[topic])
            await self.wiring.outputs.send([Message(topic, p, None, value) for p, value in records])
        await super()._send(found)


class JoinStage(DecodeStage):
    """Spans by trace -> points of calls by the callee's group."""

    name, reads_sources = "join", False

    def __init__(self, wiring: Wiring, sources: Sequence[SourceSettings]) -> None:
        lateness = max((source.lateness for source in sources), default=0.0)
        super().__init__(wiring, [SourceSettings(topic=wiring.names.spans, encoding=JOINED, lateness=lateness)])
        settings, traces = wiring.engine.settings, of_wire()
        traces.limits = settings.limits
        self._decoder = Decode(settings, wiring.partitions[wiring.names.points], encodings={JOINED: traces})
