"""`anomaly series`: the series that the newest checkpoints know, without disturbing whoever writes them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase

import msgspec

from anomaly.config.models import ModelSpec
from anomaly.config.settings import Settings
from anomaly.detect.detector import Detector
from anomaly.detect.listing import Listed
from anomaly.host.embedded import as_kept
from anomaly.host.state_command import stores
from anomaly.host.statelog import put
from anomaly.host.topics import Names

NOTHING = 3
ROW = "{:24} {:32} {:>14} {:20} {:>9} {:5} {:5} {}"


def command(settings: Settings, specs: Sequence[ModelSpec], match: str, json: bool) -> int:
    """Print them; the exit code."""
    return asyncio.run(show(settings, specs, match, json))


async def show(settings: Settings, specs: Sequence[ModelSpec], match: str, json: bool) -> int:
    """A line each, and at the end what was refused a place."""
    n, over = 0, list[tuple[str, str, int]]()
    if not json:
        print(ROW.format("group", "metric", "value", "newest", "learned", "warm", "open", "labels"))
    async for detector in detectors(settings, specs):
        over += detector.overflow()
        for listed in detector.listing():
            if fnmatchcase(listed.series.metric, match):
                print(msgspec.json.encode(listed._asdict() | {"series": listed.series}).decode() if json else line(listed))
                n += 1
    if not json:
        print(f"{n} series")
        for environment, metric, refused in sorted(over, key=lambda o: -o[2])[:10]:
            print(f"past its limit: {refused} series of {metric} in {environment}")
    return 0 if n else NOTHING


def line(listed: Listed) -> str:
    """For a person."""
    s = listed.series
    labels = ", ".join(f"{k}={v}" for k, v in (*s.labels, *s.instance))
    newest = f"{datetime.fromtimestamp(listed.last / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}" if listed.last else "never"
    warm = "-" if listed.is_ignored else "yes" if listed.is_warm else "no"
    numbers = f"{listed.value:.6g}", newest, f"{listed.learned / 3600:.1f} h", warm, "yes" if listed.is_open else "no"
    return ROW.format(s.group[:24], s.metric[:32], *numbers, labels)


async def detectors(settings: Settings, specs: Sequence[ModelSpec]) -> AsyncIterator[Detector]:
    """The detector of each partition, as its newest checkpoint has it."""
    if settings.kafka is None:
        if engine := await as_kept(settings, specs):
            yield engine.detector(0)
        return
    incidents = Names.of(settings.kafka.topics.prefix).anomalies
    for place, store in await stores(settings):
        found = await store.read() if place.topic != incidents else None
        if found is not None:
            detector = Detector(place.partition, specs, settings)
            put(found, detector)
            yield detector
