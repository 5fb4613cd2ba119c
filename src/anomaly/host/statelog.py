"""A checkpoint as bytes: what a store keeps, whether it is a Kafka topic or a directory.

A generation is one compressed body: its parts, what their bytes mean, and the rest. A manifest says which generations are
alive and which source offset the state stands for. Versions of ours may have written generations that live side by side,
so each has its own layouts. The state is what the generations of the newest manifest give, put
in order; a generation without a manifest never was.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import cramjam
import msgspec
import numpy as np
from msgspec import Struct

from anomaly import __version__
from anomaly.state import Newer, Snapshot, Stateful
from anomaly.table import Layout, Part

VERSION = 1
FRESH = -1  # the next offset of a state that stands for no offset (files, OTLP over HTTP)


class Damaged(Exception):
    """A checkpoint that cannot be read; the message says which and why."""


class Version(Struct, frozen=True):
    """What a manifest of any version has."""

    version: int = VERSION
    written_by: str = ""


class Generation(Struct, frozen=True, array_like=True):
    """What a checkpoint wrote. `begins`: where it is in the store; `crc` of its body, which has `size` bytes."""

    number: int
    begins: int
    crc: int
    size: int


class Manifest(Struct, frozen=True, kw_only=True):
    """What a checkpoint is. `live` are the generations that are needed, oldest first, its own the last."""

    version: int = VERSION
    generation: int
    next_offset: int
    epoch: int = 0  # of the topic that it is an offset of (`extent`), 0 where nobody told
    live: tuple[Generation, ...] = ()
    written_by: str = ""  # version of the program
    kernels: str = ""  # and of what judged in it, which the last digits of a score may depend on

    @property
    def size(self) -> int:
        """Bytes of all that lives."""
        return sum(each.size for each in self.live)

    def kept(self, begins: int, low: int) -> "Manifest":
        """As it is written: its own generation begins there, and those before `low` are dead."""
        *others, own = self.live
        living = [each for each in others if each.number >= low]
        return msgspec.structs.replace(self, live=(*living, msgspec.structs.replace(own, begins=begins)))


class Found(NamedTuple):
    """What a store holds: the newest manifest and the bodies of its living generations, oldest first."""

    manifest: Manifest
    bodies: Sequence[tuple[int, bytes]]


class Store(Protocol):
    """Keeps the checkpoints of one partition of a stage. Only one may write: `open` shuts out whoever did before."""

    async def open(self) -> Found | None:
        """Become the one that writes; what is kept, None where nothing is. Raises Damaged."""

    async def write(self, manifest: Manifest, body: bytes, low: int) -> Manifest:
        """Keep a generation, all or nothing; the manifest with `live` as it stands now. Frees what lies before `low`.

        Raises Fenced where another one writes by now.
        """

    async def close(self) -> None:
        """Write no more."""


class Fenced(Exception):
    """Another worker has taken over the partition's state."""


class _Body(Struct, array_like=True, frozen=True):
    parts: list[tuple[str, bytes, bytes]]
    rest: bytes
    layouts: dict[str, Any]


_to_body, _from_body = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(_Body).decode
to_manifest, _from_manifest = msgspec.json.Encoder().encode, msgspec.json.Decoder(Manifest).decode
_from_any = msgspec.json.Decoder(Version).decode


class Read(NamedTuple):
    """A body, unpacked."""

    parts: list[Part]
    rest: bytes
    layouts: Mapping[str, Layout]


def pack(snapshot: Snapshot, layouts: Mapping[str, Layout]) -> bytes:
    """The body of a generation. Each part is compressed by itself, so that no step holds up other threads for long."""
    parts = [(p.table, _small(p.rows.astype("<u4").tobytes()), _small(p.data)) for p in snapshot.parts if p.rows.size]
    return _to_body(_Body(parts, _small(snapshot.rest), dict(layouts)))


def unpack(body: bytes) -> Read:
    """What a body holds; raises Damaged."""
    try:
        read = _from_body(body)
        parts = [Part(table, np.frombuffer(_large(rows), "<u4"), _large(data)) for table, rows, data in read.parts]
        return Read(parts, _large(read.rest), read.layouts)
    except (cramjam.DecompressionError, msgspec.DecodeError) as error:
        raise Damaged(str(error)) from error


def merged(found: Found) -> bytes:
    """All living generations as one: what came later is put later. Raises Damaged where two versions of ours wrote them."""
    bodies = [_from_body(body) for _, body in found.bodies]
    layouts = bodies[-1].layouts
    if any(body.layouts != layouts for body in bodies):
        raise Damaged("two versions of the program wrote it: let the newer run until it has written all of it again")
    return _to_body(_Body([part for body in bodies for part in body.parts], bodies[-1].rest, layouts))


def _small(data: bytes | memoryview) -> bytes:
    return bytes(cramjam.zstd.compress(data, level=1))


def _large(data: bytes) -> bytes:
    return bytes(cramjam.zstd.decompress(data))


def read_manifest(text: bytes) -> Manifest:
    """A manifest; raises Damaged for one that is none, Newer for one from a version of ours that does not exist yet."""
    try:
        own = _from_any(text)
        if own.version > VERSION:
            raise later(own.written_by, f"format {own.version}, and {__version__} reads format {VERSION}")
        return _from_manifest(text)
    except msgspec.DecodeError as error:
        raise Damaged(f"manifest: {error}") from error


def later(written_by: str, what: str) -> Newer:
    """That a state is of a later version, and what can be done."""
    return Newer(
        f"this state was written by anomaly {written_by} ({what}): run that version again; or save it with that one's "
        "`anomaly state export`, and delete it"
    )


def checked(generation: Generation, body: bytes) -> tuple[int, bytes]:
    """Number and body of a generation, if it is what was written."""
    if len(body) != generation.size or zlib.crc32(body) != generation.crc:
        raise Damaged(f"generation {generation.number} is not what was written")
    return generation.number, body


def put(found: Found, state: Stateful) -> None:
    """Bring a fresh state to where the checkpoint left it; raises Damaged, or Newer."""
    rest = b""
    for generation, body in found.bodies:
        read = unpack(body)
        state.put(generation, read.parts, read.layouts)
        rest = read.rest
    try:
        state.settle(rest)
    except Newer as error:
        raise later(found.manifest.written_by, str(error)) from error


class Whole:
    """State that is small enough to be written whole each time."""

    def __init__(self, dump: Callable[[], bytes], load: Callable[[bytes], None]) -> None:
        self.dump, self.load = dump, load

    def layouts(self) -> dict[str, Layout]:
        """No tables."""
        return {}

    def ahead(self, generation: int) -> Iterator[Part]:
        """Nothing: it is small."""
        return iter(())

    def gather(self, generation: int) -> Snapshot:
        """Everything; nothing older is needed."""
        return Snapshot([], self.dump(), generation)

    def put(self, generation: int, parts: Iterable[Part], layouts: Mapping[str, Layout]) -> None:
        """Nothing: there are no rows."""

    def settle(self, rest: bytes) -> None:
        """Everything."""
        self.load(rest)
