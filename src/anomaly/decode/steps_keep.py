"""Open traces in a checkpoint of whoever decodes and detects in one: beside a detector, or in a host's of all that it has.

Under another key of the identity hashes mean something else, and what was held is let go. Where that is so, where a state
was written before traces were kept, and where a host may have lost records since, nothing is told of traces that touch the
interruption (`Steps.interrupted`).
"""

from typing import Protocol

import msgspec

from anomaly.decode.catalog import Catalog
from anomaly.decode.steps import Steps
from anomaly.state import refuse_newer
from anomaly.table import Table

VERSION = 1


class Holder(Protocol):
    """Who decodes."""

    catalog: Catalog
    steps: Steps | None


class Rest(msgspec.Struct, kw_only=True):
    """What is kept."""

    key: str
    steps: bytes
    version: int = VERSION


_to_rest, _from_rest = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(Rest).decode


def dump(decode: Holder) -> bytes:
    """What it holds of open traces, as MessagePack; never empty."""
    return _to_rest(Rest(key=decode.catalog.key, steps=decode.steps.dump() if decode.steps else b""))


def load(decode: Holder, data: bytes, lost: bool = False) -> None:
    """Go on with what `dump` gave, or with nothing; `lost`: records may have been lost since."""
    if decode.steps is None:
        return
    if data:
        refuse_newer(data, VERSION, "open traces")
        read = _from_rest(data)
        if read.key == decode.catalog.key:
            decode.steps.load(read.steps)
        else:
            lost = True
    if lost or not data:
        decode.steps.interrupted()


class KeptBeside:
    """The catalog and the open traces of a decoder, beside the detector that it feeds."""

    def __init__(self, decode: Holder) -> None:
        self.decode = decode

    @property
    def table(self) -> Table:
        """As `Beside.table`: the catalog's."""
        return self.decode.catalog.table

    @property
    def key(self) -> str:
        """As `Beside.key`."""
        return self.decode.catalog.key

    def settle(self) -> None:
        """As `Beside.settle`."""
        self.decode.catalog.settle()

    def clear(self) -> None:
        """As `Beside.clear`."""
        self.decode.catalog.clear()

    def dump(self) -> bytes:
        """As `Beside.dump`."""
        return dump(self.decode)

    def load(self, data: bytes) -> None:
        """As `Beside.load`."""
        load(self.decode, data)
