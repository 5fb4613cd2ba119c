"""What a replay learned, as the checkpoint with which a run begins, so that a new deployment is not blind.

Without Kafka the directory is what `checkpoint.directory` names; on Kafka it holds a directory for each partition of
anomaly.points, which `anomaly state import` takes in. After a replay of the very topics a run goes on behind what was
replayed. Sources that are keyed by group have their state by partitions of their own: for those there is none.
"""

import asyncio
import zlib
from pathlib import Path

from anomaly import __version__
from anomaly.config.settings import Keyed, Settings
from anomaly.detect.prime import begin_anew
from anomaly.engine import Engine
from anomaly.host.checkpoint import KERNELS
from anomaly.host.embedded import Together
from anomaly.host.inprocess import OTLP
from anomaly.host.state_folder import StateFolder
from anomaly.host.statelog import FRESH, Generation, Manifest, pack
from anomaly.host.topics import Names
from anomaly.state import Stateful


class Unsavable(Exception):
    """The state cannot be kept there, or is of no use; the message says what to do."""


def check(settings: Settings, folder: str) -> None:
    """Raise Unsavable where saving would write over something, or nobody could begin with what is saved."""
    path = Path(folder)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise Unsavable(f"{folder}: holds something already; name a new or an empty directory")
    if keyed := [source.topic for source in settings.sources if source.keyed is Keyed.GROUP]:
        raise Unsavable(f"{', '.join(keyed)}: keyed by group, and the state of such a source cannot be made by a replay yet")


def save(engine: Engine, folder: str, same_inputs: bool = False) -> str:
    """Write what the engine's detectors learned, which are of no use for anything else afterwards; how to go on.

    `same_inputs`: the run will read the very topics that were replayed.
    """
    series = sum(engine.detector(p).series for p in range(engine.partitions))
    learned = f"what was learned of {series:,} series is in {folder}"
    kafka, sources = engine.settings.kafka, [source.topic for source in engine.settings.sources]
    if kafka is None:
        begin_anew(engine.detector(0), OTLP)
        engine.drop_incidents(0)
        asyncio.run(_write(Path(folder), Together(engine), FRESH))
        return f"{learned}: run with checkpoint: {{directory: {folder}}}"
    points = Names.of(kafka.topics.prefix).points
    for p in range(engine.partitions):
        begin_anew(engine.detector(p), None if same_inputs or not sources else sources[0])
        asyncio.run(_write(Path(folder) / f"{points}-{p}", engine.detector(p), 0))
    return f"{learned}: take it in with `anomaly state import {folder}`"


async def _write(folder: Path, state: Stateful, next_offset: int) -> None:
    body = pack(state.gather(1), state.layouts())
    own = Generation(1, 0, zlib.crc32(body), len(body))
    store = StateFolder(folder)
    await store.open()
    manifest = Manifest(generation=1, next_offset=next_offset, live=(own,), written_by=__version__, kernels=KERNELS)
    await store.write(manifest, body, 1)
