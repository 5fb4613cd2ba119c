"""Checkpoints in a directory: a file a generation, and a manifest that is replaced at once or not at all.

`manifest.json` is the newest, `manifest.before` the one before it: where the newest cannot be read, or a file that it names,
the one before is taken. So what the one before needs is freed one checkpoint later.
"""

import logging
import os
from pathlib import Path

from anomaly.host.statelog import Damaged, Found, Manifest, checked, read_manifest, to_manifest

log = logging.getLogger(__name__)

NEWEST, BEFORE = "manifest.json", "manifest.before"


class StateFolder:
    """The checkpoints of one partition."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._low = 0  # of the manifest before

    async def open(self) -> Found | None:
        """What is there; raises Damaged."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return await self.read()

    async def read(self) -> Found | None:
        """What is there, or what was before if that cannot be read; raises Damaged if neither can."""
        problems = []
        for name in (NEWEST, BEFORE):
            try:
                found = self._read(name)
            except (Damaged, OSError) as error:
                log.warning("checkpoint not read", extra={"file": str(self.folder / name), "reason": str(error)})
                problems.append(str(error))
                continue
            if found is not None:
                return found
        if problems:
            raise Damaged("; ".join(problems))
        return None

    async def write(self, manifest: Manifest, body: bytes, low: int) -> Manifest:
        """The file, then the manifest that names it. Raises OSError, as for a full disk: nothing has changed then."""
        written = manifest.kept(0, low)
        self._replace(self._file(manifest.generation), body)
        newest = self.folder / NEWEST
        if newest.exists():
            self._replace(self.folder / BEFORE, newest.read_bytes())
        self._replace(newest, to_manifest(written))
        self._free(self._low)
        self._low = written.live[0].number
        return written

    async def close(self) -> None:
        """Nothing is held open."""

    def _read(self, name: str) -> Found | None:
        path = self.folder / name
        if not path.exists():
            return None
        manifest = read_manifest(path.read_bytes())
        self._low = manifest.live[0].number
        return Found(manifest, [checked(each, self._file(each.number).read_bytes()) for each in manifest.live])

    def _file(self, generation: int) -> Path:
        return self.folder / f"{generation:08d}.state"

    def _replace(self, path: Path, data: bytes) -> None:
        """A file with these bytes, or the file as it was: also if the power goes."""
        new = path.with_suffix(".new")
        try:
            with new.open("wb") as out:
                out.write(data)
                out.flush()
                os.fsync(out.fileno())
            new.replace(path)
        except OSError:
            new.unlink(missing_ok=True)
            raise
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _free(self, low: int) -> None:
        for path in self.folder.glob("*.state"):
            if int(path.stem) < low:
                path.unlink(missing_ok=True)
