"""History as blocks of points, in the order in which they are judged, and which stretch of it is asked for.

Files of one point a row (CSV) are merged in the order of event time; others are read one after another, as given. The same
history gives the same blocks each time.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from anomaly.config.settings import Settings
from anomaly.decode.block import Announced, Block
from anomaly.decode.catalog import Catalog
from anomaly.decode.csv import points_of_csv
from anomaly.decode.identity import Identity
from anomaly.decode.points import Points
from anomaly.decode.records import DeadLetter, Records
from anomaly.engine import Engine
from anomaly.host.files import PACKED, STDIN, NoData, batches, checked, encoding_of, source_of

TOGETHER = 1 << 16  # points of a block: large enough that a block costs nothing beside its points


class Step(NamedTuple):
    """Blocks by partition of anomaly.points that are judged in one go, and what was set aside on the way to them."""

    blocks: list[tuple[int, Block]]
    dead: list[DeadLetter]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Alerts of [begin, end) are asked for, ms of event time; what lies before is only learned from, for `warm_up` seconds.

    None: from where the history begins, to where it ends, and all that lies before.
    """

    begin: int | None = None
    end: int | None = None
    warm_up: float | None = None

    @property
    def reads_from(self) -> int:
        """The first ms that is learned from."""
        return 0 if self.begin is None or self.warm_up is None else self.begin - round(self.warm_up * 1000)

    @property
    def last(self) -> int:
        """The last ms that is."""
        return sys.maxsize if self.end is None else self.end - 1

    def tells(self, time: int) -> bool:
        """Whether what happened at this ms is asked for."""
        return (self.begin or 0) <= time <= self.last

    def of(self, points: Points) -> Points:
        """Those of the points that are learned from."""
        held = (points.time >= self.reads_from) & (points.time <= self.last)
        return points if held.all() else points.take(held)

    def part(self, block: Block) -> Block:
        """The same of a block."""
        return replace(block, points=self.of(block.points), heard=min(block.heard, self.last))


class Past(Protocol):
    """Where history is read from, as often as somebody asks."""

    @property
    def names(self) -> Sequence[str]:
        """Of its files, or topics."""

    @property
    def stretch(self) -> Stretch:
        """What of it is asked for."""

    @property
    def same_inputs(self) -> bool:
        """Whether a run reads from the very place, and goes on behind what was replayed."""

    def steps(self, engine: Engine, bar: Progress) -> Iterator[Step]:
        """All of it, in order; `engine` decodes what is still encoded."""


@dataclass(frozen=True, slots=True)
class Files:
    """History in files."""

    names: Sequence[str]
    encoding: str | None = None
    stretch: Stretch = field(default_factory=Stretch)

    @property
    def same_inputs(self) -> bool:
        """A file is read once."""
        return False

    def steps(self, engine: Engine, bar: Progress) -> Iterator[Step]:
        """Tables first, merged, then the others in their order. Raises NoData where one is not there."""
        checked(self.names)
        encodings = {path: encoding_of(path, self.encoding) for path in self.names}
        tables = [path for path in self.names if is_table(path, encodings[path])]
        yield from self._tables(tables, engine, bar)
        for path in self.names:
            if path not in tables:
                reading = bar.add_task(Path(path).name, total=None)
                for blocks, dead, records in decoded(engine, path, encodings[path]):
                    yield Step([(p, self.stretch.part(block)) for p, block in blocks], dead)
                    bar.advance(reading, records)

    def _tables(self, paths: Sequence[str], engine: Engine, bar: Progress) -> Iterator[Step]:
        catalog = catalog_of(engine.settings, engine.partitions)
        points = self.stretch.of(read_plain(paths, catalog, bar))
        judging = bar.add_task("points", total=len(points))
        for block in in_time_order(points, catalog, idle=int(engine.settings.limits.idle * 1000)):
            yield Step(by_partition(block, catalog), [])
            bar.advance(judging, len(block.points))


def catalog_of(settings: Settings, partitions: int = 1) -> Catalog:
    """A catalog for series that no decoder describes."""
    return Catalog(Identity(settings.identity, settings.identity.seed), settings.limits.series, partitions)


def is_table(path: str, encoding: str) -> bool:
    """Whether the file can be read as a whole, and merged with others; what comes packed or by a pipe is read as records."""
    return encoding == "csv" and path != STDIN and not path.endswith(PACKED)


def read_plain(paths: Sequence[str], catalog: Catalog, bar: Progress) -> Points:
    """The points of all CSV files; each file is a group of its own, named by its stem."""
    stems = sorted(Path(path).stem for path in paths)
    twins = [a for a, b in pairwise(stems) if a == b]
    if twins:
        raise NoData(f"two files are named {twins[0]}, and each file is a group of that name: rename one")
    return Points.joined([points_of_csv(Path(path), catalog) for path in bar.track(paths, description="files")])


def in_time_order(points: Points, catalog: Catalog, together: int = TOGETHER, idle: int = 86_400_000) -> Iterator[Block]:
    """Blocks of the points by event time; those of the same time in the order of their files.

    None is longer than `idle` ms, for between two of them the detector looks which series are no more.
    """
    ordered = points.take(np.argsort(points.time, kind="stable"))
    announced: set[int] = set()
    days = np.flatnonzero(np.diff(ordered.time // max(idle, 1), prepend=-1))
    edges = np.union1d(days, np.arange(0, len(ordered), together)).tolist()
    for at, end in pairwise([*edges, len(ordered)]):
        part = ordered.take(slice(at, end))
        rows = [row for row in np.unique(catalog.rows_of(part.series)).tolist() if row not in announced]
        announced.update(rows)
        new = Announced.of(catalog.series[row] for row in rows)
        yield Block("files", 0, at, at + len(part), int(part.time[-1]), 0, part, new)


def by_partition(block: Block, catalog: Catalog) -> list[tuple[int, Block]]:
    """A block for each partition of anomaly.points: a tick where none of the points is of it."""
    if catalog.partitions == 1:
        return [(0, block)]
    where = catalog.columns["partition"]
    of_points, of_new = where[catalog.rows_of(block.points.series)], where[catalog.rows_of(block.series.hash)]
    found = []
    for p in range(catalog.partitions):
        mine = np.flatnonzero(of_new == p)
        new = Announced(block.series.hash[mine], [block.series.text[i] for i in mine.tolist()])
        found.append((p, replace(block, points=block.points.take(of_points == p), series=new)))
    return found


def decoded(engine: Engine, path: str, encoding: str) -> Iterator[tuple[list[tuple[int, Block]], list[DeadLetter], int]]:
    """Blocks and dead letters of a file of records, and how many records they come from."""
    source, offset = source_of(path, encoding), 0
    for values in batches(path, encoding):
        blocks, dead = engine.decode(source, Records.of(values, source.topic, 0, offset))
        yield blocks, dead, len(values)
        offset += len(values)


def progress() -> Progress:
    """A bar on standard error, where somebody looks at it."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
