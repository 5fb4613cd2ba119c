"""What a checkpoint writes comes back, or is refused."""

import resource
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly.config.settings import Checkpoint
from anomaly.host.blocks import Place
from anomaly.host.checkpoint import Checkpoints
from anomaly.host.health import Health
from anomaly.host.state_folder import StateFolder
from anomaly.host.statelog import (
    Damaged,
    Found,
    Generation,
    Manifest,
    merged,
    pack,
    put,
    read_manifest,
    to_manifest,
    unpack,
)
from anomaly.state import Newer, Snapshot
from anomaly.table import Layout, Part, Table

parts = st.builds(
    Part,
    st.text(max_size=5),
    st.lists(st.integers(0, 1 << 31), max_size=4).map(lambda r: np.array(r, np.uint32)),
    st.binary(),
)


@given(st.lists(parts, max_size=4), st.binary())
@settings(deadline=None)
def test_a_generation_comes_back_as_it_was(held: list[Part], rest: bytes) -> None:
    """Tables, rows, bytes and the rest; parts without rows say nothing and are left out."""
    read = unpack(pack(Snapshot(held, rest, 1), {"t": {"columns": {}}}))
    assert (read.rest, read.layouts) == (rest, {"t": {"columns": {}}})
    assert [(p.table, p.rows.tolist(), p.data) for p in read.parts] == [
        (p.table, p.rows.tolist(), p.data) for p in held if p.rows.size
    ]


class Rows:
    """A state of one table of numbers; `fields` is what a version of ours knows of a row."""

    def __init__(self, *fields: str) -> None:
        self.table = Table("t", {"row": (np.dtype([(f, "i8") for f in fields]), 0)})

    def layouts(self) -> dict[str, Layout]:
        return {"t": self.table.layout()}

    def ahead(self, generation: int) -> Iterator[Part]:
        return iter(())

    def gather(self, generation: int) -> Snapshot:
        return Snapshot([self.table.gather(generation)], msgspec.json.encode(self.table.rest()), 1)

    def put(self, generation: int, parts: Iterable[Part], layouts: Mapping[str, Layout]) -> None:
        for part in parts:
            self.table.put(generation, part, layouts["t"])

    def settle(self, rest: bytes) -> None:
        self.table.settle(msgspec.json.decode(rest))


def found(*bodies: bytes) -> Found:
    """What a store would give."""
    return Found(Manifest(generation=len(bodies), next_offset=0), list(enumerate(bodies, 1)))


def test_rows_that_two_versions_wrote_are_each_read_by_its_own_layout() -> None:
    """After an upgrade what the old version wrote lives on, beside what the new one wrote since; so after a rollback."""
    old = Rows("a")
    for value in (11, 22):
        row = old.table.new()
        old.table["row"]["a"][row] = value
    first = pack(old.gather(1), old.layouts())
    new = Rows("b", "a")
    put(found(first), new)
    new.table["row"][0] = (7, 33)
    new.table.touched[0] = 1
    second = pack(new.gather(2), new.layouts())
    held = found(first, second)
    again, back = Rows("b", "a"), Rows("a")
    put(held, again)
    put(held, back)
    assert again.table["row"][:2].tolist() == [(7, 33), (0, 22)]
    assert back.table["row"]["a"][:2].tolist() == [33, 22]
    with pytest.raises(Damaged, match="two versions"):
        merged(held)


@given(st.binary(max_size=64))
@settings(deadline=None)
def test_what_is_no_generation_is_refused(data: bytes) -> None:
    """Damaged, nothing else."""
    with pytest.raises(Damaged):
        unpack(data)


def manifest(generation: int, *live: Generation) -> Manifest:
    """One that stands for offset 10 times its number."""
    return Manifest(generation=generation, next_offset=10 * generation, live=live)


def test_a_manifest_of_a_version_to_come_is_refused_by_name() -> None:
    """After a rollback nobody guesses what the newer program meant."""
    text = to_manifest(msgspec.structs.replace(manifest(1), version=99, written_by="7.0"))
    with pytest.raises(Newer, match=r"anomaly 7\.0 \(format 99.*export"):
        read_manifest(text)
    with pytest.raises(Newer):
        read_manifest(b'{"version": 99, "written_by": "7.0", "generation": "of another type"}')


async def write(store: StateFolder, before: Manifest | None, body: bytes, low: int) -> Manifest:
    """One more generation."""
    number = before.generation + 1 if before else 1
    own = Generation(number, 0, zlib.crc32(body), len(body))
    return await store.write(manifest(number, *(before.live if before else ()), own), body, low)


async def opened(folder: Path) -> Found:
    """What a new process finds."""
    found = await StateFolder(folder).open()
    assert found is not None
    return found


async def test_a_directory_gives_back_the_generations_that_live(tmp_path: Path) -> None:
    """In order; what is dead is deleted one checkpoint after nobody needs it."""
    store, last = StateFolder(tmp_path), None
    assert await store.open() is None
    for body, low in ((b"one", 1), (b"two", 1), (b"three", 2), (b"four", 3)):
        last = await write(store, last, body, low)
    found = await opened(tmp_path)
    assert found.bodies == [(3, b"three"), (4, b"four")]
    assert found.manifest.next_offset == 40
    assert sorted(p.stem for p in tmp_path.glob("*.state")) == ["00000002", "00000003", "00000004"]


@pytest.mark.parametrize("torn", ["00000003.state", "manifest.json"])
async def test_a_torn_file_falls_back_to_the_checkpoint_before(tmp_path: Path, torn: str) -> None:
    """Cut in the middle, whichever of its files it is."""
    store, last = StateFolder(tmp_path), None
    await store.open()
    for body in (b"one", b"two", b"three"):
        last = await write(store, last, body, 1)
    path = tmp_path / torn
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found = await opened(tmp_path)
    assert (found.manifest.generation, found.bodies) == (2, [(1, b"one"), (2, b"two")])


async def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is told; what was there is there, and the next write goes through."""
    store = StateFolder(tmp_path)
    await store.open()
    last = await write(store, None, b"one", 1)

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        await write(store, last, b"two", 1)
    monkeypatch.undo()
    assert (await opened(tmp_path)).bodies == [(1, b"one")]
    assert not list(tmp_path.glob("*.new"))
    await write(store, last, b"two", 1)
    assert (await opened(tmp_path)).bodies == [(1, b"one"), (2, b"two")]


async def test_a_directory_of_a_later_version_is_refused_though_the_one_before_could_be_read(tmp_path: Path) -> None:
    """To fall back would be to write over what the newer program has learned since."""
    store = StateFolder(tmp_path)
    await store.open()
    await write(store, await write(store, None, b"one", 1), b"two", 1)
    newest = tmp_path / "manifest.json"
    newest.write_bytes(newest.read_bytes().replace(b'"version":1', b'"version":99'))
    with pytest.raises(Newer, match="format 99"):
        await StateFolder(tmp_path).open()


def test_a_body_of_a_later_version_is_refused_by_who_wrote_it() -> None:
    """The manifest may be one that we read: what a stage keeps has a version of its own."""

    class Older(Rows):
        def settle(self, rest: bytes) -> None:
            raise Newer("format 9 of a detector's state, and this program reads 1")

    rows = Rows("a")
    held = found(pack(rows.gather(1), rows.layouts()))
    held = held._replace(manifest=msgspec.structs.replace(held.manifest, written_by="7.0"))
    with pytest.raises(Newer, match=r"anomaly 7\.0 \(format 9.*export"):
        put(held, Older("a"))


async def test_what_other_kernels_learned_is_taken_as_it_is_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An upgrade of numba, or of a kernel, teaches nothing anew; rows are put in beside the loop, which is not held up."""
    place, threads = Place("t", 0), set[int]()

    class Watched(Rows):
        def put(self, generation: int, parts: Iterable[Part], layouts: Mapping[str, Layout]) -> None:
            threads.add(threading.get_ident())
            super().put(generation, parts, layouts)

    async def restored(state: Rows) -> tuple[Checkpoints, dict[Place, int]]:
        made = Checkpoints("t", lambda _: StateFolder(tmp_path), Checkpoint(), Health())
        return made, await made.restore({place: state})

    monkeypatch.setattr("anomaly.host.checkpoint.KERNELS", "kernels-of-then")
    first = Rows("a")
    checkpoints, offsets = await restored(first)
    assert offsets == {}
    row = first.table.new()
    first.table["row"]["a"][row] = 11
    checkpoints.took(place, 7, 5)
    await checkpoints.finish([place], 10)
    monkeypatch.undo()
    second = Watched("a")
    with caplog.at_level("INFO", logger="anomaly"):
        checkpoints, offsets = await restored(second)
    assert (offsets, checkpoints.epoch(place)) == ({place: 7}, 5)
    assert second.table["row"]["a"][:1].tolist() == [11]
    assert [r.__dict__["then"] for r in caplog.records if "other kernels" in r.message] == ["kernels-of-then"]
    assert threads
    assert threading.get_ident() not in threads


@pytest.fixture
def no_room() -> Iterator[None]:
    """A disk on which no file gets beyond 64 KiB: the system itself cuts the write, in the middle."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_write_that_the_system_cuts_leaves_the_checkpoint_before(tmp_path: Path, no_room: None) -> None:
    """Half a body is on the disk when the error comes; nothing of it stays, and a smaller one goes through."""
    store = StateFolder(tmp_path)
    await store.open()
    last = await write(store, None, b"one", 1)
    with pytest.raises(OSError, match="too large"):
        await write(store, last, bytes(1 << 20), 1)
    assert (await opened(tmp_path)).bodies == [(1, b"one")]
    assert not list(tmp_path.glob("*.new"))
    await write(store, last, b"two", 1)
    assert (await opened(tmp_path)).bodies == [(1, b"one"), (2, b"two")]
