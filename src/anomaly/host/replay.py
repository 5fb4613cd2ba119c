"""History at full speed: what would have been alerted, as a table, JSON lines and a report.

The same files give the same output, byte by byte; only the progress bar and the speed, on standard error, know a clock.
Files of one point a row (CSV) are merged in the order of event time; others are read one after another, as given.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import orjson
from msgspec import to_builtins
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from anomaly.config.models import ModelSpec
from anomaly.config.settings import Settings
from anomaly.decode.block import Announced, Block
from anomaly.decode.catalog import Catalog
from anomaly.decode.csv import points_of_csv
from anomaly.decode.identity import Identity
from anomaly.decode.points import Points
from anomaly.decode.records import BadRecord, DeadLetter, Records
from anomaly.dispatch.alert import Severity
from anomaly.engine import Engine
from anomaly.host import labelled
from anomaly.host.files import PACKED, STDIN, NoData, batches, checked, encoding_of, source_of
from anomaly.host.history import History, minute
from anomaly.host.report import page

TOGETHER = 1 << 16  # points of a block: large enough that a block costs nothing beside its points
FAILED, NO_DATA = 1, 3  # exit codes
STYLE = {Severity.CRITICAL: "bold red", Severity.WARNING: "yellow", Severity.INFO: "dim"}


def replay(
    files: Sequence[str],
    settings: Settings,
    specs: Sequence[ModelSpec],
    *,
    encoding: str | None = None,
    json: bool = False,
    report: str | None = None,
    labels: str | None = None,
) -> int:
    """Run the files through the engine and print what it would have alerted; the exit code."""
    began = time.perf_counter()
    try:
        checked([*files, *([labels] if labels else [])])
        history = run(files, settings, specs, encoding)
    except (NoData, BadRecord) as error:
        print(f"anomaly: {error}", file=sys.stderr)
        return NO_DATA if isinstance(error, NoData) else FAILED
    seconds = time.perf_counter() - began
    if labels:
        history.verdicts = labelled.judge(labelled.read(labels), files, history.cases.values())
    print_json(history) if json else print_table(history)
    if report:
        Path(report).write_text(page(history), encoding="utf-8")
    print(f"{history.points:,} points in {seconds:.1f} s", file=sys.stderr)
    return 0


def run(files: Sequence[str], settings: Settings, specs: Sequence[ModelSpec], encoding: str | None = None) -> History:
    """Everything that the files hold, judged."""
    history, engine = History(files), Engine(settings, specs)
    encodings = {path: encoding_of(path, encoding) for path in files}
    with progress() as bar:
        catalog = Catalog(Identity(settings.identity, settings.identity.seed), settings.limits.series)
        points = read_plain([path for path in files if is_table(path, encodings[path])], catalog, bar)
        history.series = tracks(points, catalog)
        judging = bar.add_task("points", total=len(points))
        for block in in_time_order(points, catalog):
            judge(history, engine, [(0, block)])
            bar.advance(judging, len(block.points))
        for path in [path for path in files if not is_table(path, encodings[path])]:
            reading = bar.add_task(Path(path).name, total=None)
            for blocks, dead, records in decoded(engine, path, encodings[path]):
                judge(history, engine, blocks)
                history.dead += dead
                bar.advance(reading, records)
    return history


def judge(history: History, engine: Engine, blocks: list[tuple[int, Block]]) -> None:
    """One step of the walk, and what it gave."""
    history.heard(blocks)
    history.take(engine.judge(blocks))


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


def in_time_order(points: Points, catalog: Catalog, together: int = TOGETHER) -> Iterator[Block]:
    """Blocks of the points by event time; those of the same time in the order of their files."""
    ordered = points.take(np.argsort(points.time, kind="stable"))
    announced: set[int] = set()
    for at in range(0, len(ordered), together):
        part = ordered.take(slice(at, at + together))
        rows = [row for row in np.unique(catalog.rows_of(part.series)).tolist() if row not in announced]
        announced.update(rows)
        new = Announced.of(catalog.series[row] for row in rows)
        yield Block("files", 0, at, at + len(part), int(part.time[-1]), 0, part, new)


def tracks(points: Points, catalog: Catalog) -> dict[tuple[str, str], labelled.Track]:
    """Time and value of each series, by group and metric."""
    rows, found = catalog.rows_of(points.series), {}
    for row, series in enumerate(catalog.series):
        mine = rows == row
        found[series.group, series.metric] = (points.time[mine], points.value[mine])
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


def print_json(history: History) -> None:
    """Each alert as a line, then a summary."""
    for alert in history.alerts:
        print(orjson.dumps(to_builtins(alert)).decode())
    print(orjson.dumps({"summary": history.counts()}).decode())


def print_table(history: History) -> None:
    """Who was told what, when, and how sure; in colour on a terminal, else in lines that a tool can read."""
    console = Console(width=None if sys.stdout.isatty() else 200)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("when (UTC)", "severity", "group", "what", "how long", "how sure"):
        table.add_column(name, no_wrap=name in ("when (UTC)", "severity", "how long"))
    for case in history.cases.values():
        severity = Text(case.worst.value, STYLE[case.worst])
        about = (case.first.group, case.what, case.lasted, case.first.confidence)
        table.add_row(minute(case.first.time), severity, *(Text(text) for text in about))
    if history.cases:
        console.print(table)
    for line in (history.sentence(), *(history.verdicts.lines() if history.verdicts else [])):
        console.print(Text(line))
