"""History at full speed: what would have been alerted, as a table, JSON lines and a report; or what would have been alerted
otherwise by another configuration.

The same history gives the same output, byte by byte; only the progress bar and the speed, on standard error, know a clock.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import orjson
from msgspec import to_builtins
from rich.console import Console
from rich.table import Table
from rich.text import Text

from anomaly.command.command import Command
from anomaly.config.models import ModelSpec
from anomaly.config.settings import Settings
from anomaly.decode.records import BadRecord
from anomaly.detect import convert
from anomaly.detect.convert import OUTCOMES
from anomaly.dispatch.alert import Severity
from anomaly.engine import Engine
from anomaly.host import labelled
from anomaly.host.difference import Change, Difference, difference
from anomaly.host.files import NoData, checked
from anomaly.host.history import Case, History, minute
from anomaly.host.past import Files, Past, progress
from anomaly.host.prime import Unsavable, check, save
from anomaly.host.report import page, wanted
from anomaly.host.tracks import Tracks

FAILED, NO_DATA = 1, 3  # exit codes
IGNORED = OUTCOMES[convert.IGNORED]
STYLE = {Severity.CRITICAL: "bold red", Severity.WARNING: "yellow", Severity.INFO: "dim"}


class Config(NamedTuple):
    """A configuration, and what it is called."""

    settings: Settings
    specs: Sequence[ModelSpec]
    name: str = "the built-in configuration"


@dataclass(frozen=True, slots=True)
class Output:
    """What is made of a replay."""

    json: bool = False
    report: str | None = None
    labels: str | None = None
    save_state: str | None = None
    commands: Sequence[Command] = ()


def replay(past: Past, config: Config, output: Output, against: Config | None = None) -> int:
    """Run history through the engine and print what it would have alerted; the exit code."""
    began = time.perf_counter()
    try:
        checked([output.labels] if output.labels else [])
        if output.save_state:
            check(config.settings, output.save_state)
        engine = commanded(Engine(config.settings, config.specs, partitions(config.settings)), output.commands)
        history = walk(past, engine)
        other = walk(past, commanded(Engine(against.settings, against.specs), output.commands)) if against else None
    except (NoData, BadRecord, Unsavable) as error:
        print(f"anomaly: {error}", file=sys.stderr)
        return NO_DATA if isinstance(error, NoData) else FAILED
    seconds = time.perf_counter() - began
    told = difference(history, other, (config.name, against.name)) if against and other else None
    for each in (history, other) if output.labels else ():
        judge(each, output.labels)
    show = print_json if output.json else print_table
    show(history, told, other)
    if output.report:
        draw(past, history, config, told, output.commands)
        Path(output.report).write_text(page(history, told), encoding="utf-8")
    if output.save_state:
        print(save(engine, output.save_state, past.same_inputs), file=sys.stderr)
    print(f"{history.points:,} points in {seconds:.1f} s", file=sys.stderr)
    return 0


def run(files: Sequence[str], settings: Settings, specs: Sequence[ModelSpec], encoding: str | None = None) -> History:
    """Everything that the files hold, judged."""
    return walk(Files(files, encoding), Engine(settings, specs))


def walk(past: Past, engine: Engine) -> History:
    """All of the past, judged."""
    history = History(past.names, past.stretch, engine.settings.threshold.alert)
    with progress() as bar:
        for blocks, dead in past.steps(engine, bar):
            history.heard(blocks)
            history.take(engine.judge(blocks))
            history.dead += dead
    history.ignored = sum(engine.detector(p).counts[IGNORED] for p in range(engine.partitions))
    return history


def commanded(engine: Engine, commands: Sequence[Command]) -> Engine:
    """The engine, told all commands before it begins: each is about a time of the data, and means the same then."""
    for command in commands:
        engine.command(command)
    return engine


def partitions(settings: Settings) -> int:
    """Of anomaly.points, where the state that was learned may be handed to a worker on Kafka."""
    return settings.kafka.topics.partitions if settings.kafka else 1


def judge(history: History | None, labels: str | None) -> None:
    """Hold it against what was known to be wrong."""
    if history and labels:
        known, cases = labelled.read(labels), history.cases.values()
        history.verdicts = labelled.judge(known, history.files, cases, history.weeks, history.stretch)


def draw(past: Past, history: History, config: Config, told: Difference | None, commands: Sequence[Command]) -> None:
    """Once more, to keep what those series did that the report shows: now it is known which."""
    tracks, engine = Tracks(wanted(history, told)), Engine(config.settings, config.specs, partitions(config.settings))
    commanded(engine, commands)
    for partition in range(engine.partitions):
        tracks.follow(engine.detector(partition))
    walk(past, engine)
    history.tracks = tracks.all()


def print_json(history: History, told: Difference | None, other: History | None) -> None:
    """Each alert, or each change of one, as a line, then a summary."""
    for each in map(Change.told, told.news()) if told else map(to_builtins, history.alerts):
        print(orjson.dumps(each).decode())
    compared = {"difference": told.counts(), "against": other.counts()} if told and other else {}
    print(orjson.dumps({"summary": history.counts() | compared}).decode())


def print_table(history: History, told: Difference | None, other: History | None) -> None:
    """Who was told what, when, and how sure; in colour on a terminal, else in lines that a tool can read."""
    console = Console(width=None if sys.stdout.isatty() else 200)
    if told and told.news():
        console.print(changes(told))
    elif not told and history.cases:
        console.print(incidents(history))
    if told and other:
        each = zip(told.names, (history, other), strict=True)
        lines = [f"{name}: {line}" for name, one in each for line in summary(one)] + [told.sentence()]
    else:
        lines = summary(history, True)
    for line in lines:
        console.print(Text(line))


def summary(history: History, windows: bool = False) -> list[str]:
    """The whole in a few lines; with `windows` a line for each labelled one."""
    verdicts = history.verdicts.lines() if history.verdicts else []
    return [history.sentence(), *(verdicts if windows else verdicts[-2:])]


def incidents(history: History) -> Table:
    """A row for each."""
    table = headed("when (UTC)", "severity", "group", "what", "how long", "how sure")
    for case in history.cases.values():
        about = (case.first.group, case.what, case.lasted, case.first.confidence)
        table.add_row(minute(case.first.time), severity(case.worst.value, case), *(Text(text) for text in about))
    return table


def changes(told: Difference) -> Table:
    """A row for each incident that is not as it was."""
    table = headed("change", "when (UTC)", "severity", "group", "what", "how")
    for c in told.news():
        when, about = minute(c.case.first.time), (c.case.first.group, c.case.what, c.how)
        table.add_row(Text(c.kind.value), when, severity(c.severity, c.case), *(Text(text) for text in about))
    return table


def severity(text: str, case: Case) -> Text:
    """In the colour of the worst."""
    return Text(text, STYLE[case.worst])


def headed(*names: str) -> Table:
    """A table without lines; what is long may take several."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name, no_wrap=name not in ("group", "what", "how", "how sure"))
    return table
