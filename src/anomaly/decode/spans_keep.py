"""What a join knows as state: the halves of one partition as tables; whose they are, and traces that are open, as a rest."""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from anomaly import state
from anomaly.decode.identity import Identity
from anomaly.decode.spans_known import Known, Memory
from anomaly.decode.spans_traces import Traces
from anomaly.decode.steps import Steps
from anomaly.state import Snapshot, refuse_newer
from anomaly.table import Layout, Part, Table

VERSION = 1


class Rest(msgspec.Struct, kw_only=True):
    """What is small and written whole; under another key of the identity nothing of it means what it did."""

    key: str
    tables: dict[str, list[int]]
    known: Memory
    steps: bytes = b""
    version: int = VERSION


_to_rest, _from_rest = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(Rest).decode


class KeptJoin:
    """The only partition of `traces`, as a state."""

    def __init__(self, traces: Traces, steps: Steps, identity: Identity, source: str, partition: int) -> None:
        self.steps = steps
        traces.known = Known(identity, traces.limits.operations)
        self.known, self.identity, self.join = traces.known, identity, traces.join(source, partition)

    @property
    def _tables(self) -> dict[str, Table]:
        return {table.name: table for table in self.join.tables}

    def layouts(self) -> Mapping[str, Layout]:
        """As `Stateful.layouts`."""
        return {name: table.layout() for name, table in self._tables.items()}

    def ahead(self, generation: int) -> Iterator[Part]:
        """As `Stateful.ahead`. A table that is doubled meanwhile is written anew, whole, by `gather`."""
        return state.ahead(self.join.tables, generation)

    def gather(self, generation: int) -> Snapshot:
        """As `Stateful.gather`."""
        parts, low = state.gather(self.join.tables, generation)
        tables, steps = {n: t.rest() for n, t in self._tables.items()}, self.steps.dump()
        rest = Rest(key=self.identity.key, tables=tables, known=self.known.memory(), steps=steps)
        return Snapshot(parts, _to_rest(rest), low)

    def put(self, generation: int, parts: Iterable[Part], layouts: Mapping[str, Layout]) -> None:
        """As `Stateful.put`."""
        for part in parts:
            if part.table in self._tables:
                self._tables[part.table].put(generation, part, layouts[part.table])

    def settle(self, rest: bytes) -> None:
        """As `Stateful.settle`."""
        refuse_newer(rest, VERSION, "the halves of calls")
        read = _from_rest(rest)
        if read.key != self.identity.key:
            self.join.clear()
            return
        for name, table in self._tables.items():
            table.settle(read.tables[name])
        self.known.remember(read.known)
        self.steps.load(read.steps)
