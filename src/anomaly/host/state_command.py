"""`anomaly state`: what is kept of each stage's partitions, out of Kafka into a directory, and back.

Looking and exporting disturb nobody. An import shuts out a worker that runs, so the application must be stopped, and it
refuses to overwrite: what is there has to be deleted first, by whoever knows that it is not needed.
"""

import asyncio
import sys
import zlib
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from anomaly import __version__
from anomaly.config.settings import Keyed, Settings
from anomaly.host import connect
from anomaly.host.blocks import Place
from anomaly.host.state_folder import StateFolder
from anomaly.host.state_topic import StateTopic
from anomaly.host.statelog import Damaged, Found, Generation, merged
from anomaly.host.topics import MissingTopics, Names, partitions_of, prepare, prepare_state
from anomaly.state import Newer

FAILED, NOTHING = 1, 3


def command(action: str, settings: Settings, folder: str | None) -> int:
    """`inspect`, `export` or `import`; the exit code."""
    doing: dict[str, Callable[[Settings, Path], Coroutine[Any, Any, int]]] = {
        "inspect": inspect, "export": export, "import": take_in,
    }  # fmt: skip
    try:
        return asyncio.run(doing[action](settings, Path(folder or ".")))
    except (Damaged, Newer, MissingTopics) as error:
        print(f"anomaly: {error}", file=sys.stderr)
        return FAILED


async def stores(settings: Settings) -> list[tuple[Place, StateTopic]]:
    """Every partition of every stage that keeps state, by the topic that it reads."""
    assert settings.kafka is not None, "only what runs on Kafka keeps its state there"
    kafka, names = settings.kafka, Names.of(settings.kafka.topics.prefix)
    fused = [source.topic for source in settings.sources if source.keyed is Keyed.GROUP]
    found: list[tuple[Place, StateTopic]] = []
    for topic in (names.points, names.anomalies, *fused):
        many = await connect.patiently(partial(partitions_of, kafka, names.state_of(topic)), "reading topics")
        found += [(place, StateTopic.of(kafka, place)) for place in (Place(topic, p) for p in range(many))]
    return found


async def inspect(settings: Settings, folder: Path) -> int:
    """A line a partition: which checkpoint is the newest, what it stands for, and how large all that lives is."""
    del folder
    row = "{:32} {:>4} {:>10} {:>12} {:>6} {:>12}  {}"
    print(row.format("state of", "part", "generation", "next offset", "alive", "bytes", "written by"))
    code = NOTHING
    for place, store in await stores(settings):
        try:
            held = await store.read()
        except (Damaged, Newer) as error:
            how = "damaged" if isinstance(error, Damaged) else "newer"
            print(row.format(place.topic, place.partition, how, "", "", "", error))
            code = FAILED
            continue
        if held is not None:
            m = held.manifest
            numbers = m.generation, m.next_offset, len(m.live), f"{m.size:,}"
            print(row.format(place.topic, place.partition, *numbers, m.written_by))
            code = 0 if code == NOTHING else code
    return code


async def export(settings: Settings, folder: Path) -> int:
    """Each partition into a directory of its own, as one generation."""
    n = 0
    for place, store in await stores(settings):
        held = await store.read()
        if held is not None:
            target = StateFolder(folder / f"{place.topic}-{place.partition}")
            if await target.open() is not None:
                print(f"{target.folder} holds a state already: name an empty directory", file=sys.stderr)
                return FAILED
            await _write(target, held)
            n += 1
    print(f"{n} partitions are in {folder}")
    return 0 if n else NOTHING


async def take_in(settings: Settings, folder: Path) -> int:
    """Each partition that has a directory, into its topic, which is made where nothing has run yet."""
    await _make_topics(settings, folder)
    n = 0
    for place, store in await stores(settings):
        held = await StateFolder(folder / f"{place.topic}-{place.partition}").read()
        if held is None:
            continue
        if await store.open() is not None:
            print(f"{place.topic}-{place.partition} has a state already: delete the topic first", file=sys.stderr)
            await store.close()
            return FAILED
        await _write(store, held)
        await store.close()
        n += 1
    print(f"{n} partitions were taken in from {folder}")
    return 0 if n else NOTHING


async def _make_topics(settings: Settings, folder: Path) -> None:
    assert settings.kafka is not None
    kafka, names = settings.kafka, Names.of(settings.kafka.topics.prefix)
    if any(folder.glob(f"{names.points}-*")):
        await connect.patiently(partial(prepare, kafka, names), "making topics")
        await connect.patiently(partial(prepare_state, kafka, names.state_of(names.points), names.points), "making topics")


async def _write(store: StateTopic | StateFolder, held: Found) -> None:
    body = merged(held)
    own = Generation(1, 0, zlib.crc32(body), len(body))
    first = msgspec.structs.replace(held.manifest, generation=1, live=(own,), written_by=__version__)
    await store.write(first, body, 1)
