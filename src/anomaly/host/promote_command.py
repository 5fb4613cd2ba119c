"""`anomaly promote` and `anomaly shadow`: may statistics alone page a team, decided on what they would have paged."""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from anomaly.command.command import BadCommand, Promote, Shadow, refuse
from anomaly.command.commands import is_of
from anomaly.config.load import load
from anomaly.config.settings import PAGES_PER_WEEK, KafkaSettings, Settings, SourceSettings
from anomaly.dispatch.alert import Alert, Severity, What
from anomaly.dispatch.budgets import DEFAULT, first_fitting
from anomaly.host import connect
from anomaly.host.files import NoData
from anomaly.host.history import minute
from anomaly.host.past import Stretch
from anomaly.host.past_topics import Topics
from anomaly.host.silence_command import FAILED, WRONG, said, told
from anomaly.host.telling import readable
from anomaly.host.topics import Names

DAYS, DAY = 14, 86_400_000  # ms


def promote(args: argparse.Namespace) -> int:
    """Show what would have paged, ask, and let statistics page the team from now on."""
    settings = load(args.config, os.environ, args.set)
    command = Promote(**said(args.author, args.comment, f"team:{args.team}"), team=args.team)
    try:
        refuse(command)
        if settings.kafka is None:
            raise NoData("promote: shows what was recorded on Kafka, and the configuration names none")
        alerts = asyncio.run(connect.patiently(lambda: recorded(settings.kafka, args.team), "reading alerts"))  # type: ignore[arg-type]
    except (BadCommand, NoData) as error:
        print(f"anomaly: {error}", file=sys.stderr)
        return WRONG if isinstance(error, BadCommand) else FAILED
    show(args.team, alerts, settings)
    if not (args.yes or agreed(f"Let statistics page {args.team}? [y/N] ")):
        print("nothing was changed")
        return FAILED
    return told(settings, command)


def shadow(args: argparse.Namespace) -> int:
    """Statistics alone page the team no more; what they would have paged is recorded."""
    settings = load(args.config, os.environ, args.set)
    command = Shadow(**said(args.author, args.comment, f"team:{args.team}"), team=args.team)
    try:
        refuse(command)
    except BadCommand as error:
        print(f"anomaly: {error}", file=sys.stderr)
        return WRONG
    return told(settings, command)


async def recorded(kafka: KafkaSettings, team: str) -> list[Alert]:
    """The alerts of the last days about groups of the team."""
    from anomaly.host.stages_alerts import alert_decoder

    topic, since = Names.of(kafka.topics.prefix).alerts, round(time.time() * 1000) - DAYS * DAY
    found: list[Alert] = []
    past = Topics(kafka, [SourceSettings(topic=topic, encoding="alerts")], Stretch(since, warm_up=0.0))
    async for block in past.records():
        texts = {str(block.offset[i]).encode(): block.value(i) for i in range(len(block))}
        found += [a for a in readable(texts, alert_decoder) if is_of(team, a.environment, a.group)]
    return sorted(found, key=lambda a: a.time)


def would_have(alerts: Iterable[Alert], severity: Severity) -> list[Alert]:
    """The alert of each incident with which it would first have had the severity, but for the shadow."""
    first: dict[str, Alert] = {}
    for alert in alerts:
        if alert.event is not What.RESOLVE and alert.would == severity:
            first.setdefault(alert.dedup_key, alert)
    return list(first.values())


def show(team: str, alerts: Sequence[Alert], settings: Settings) -> None:
    """What would have paged: when, what, and on which evidence; and how many a week."""
    pages, tickets = would_have(alerts, Severity.CRITICAL), would_have(alerts, Severity.WARNING)
    console = Console(width=None if sys.stdout.isatty() else 200)
    if pages:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in ("when (UTC)", "group", "what", "evidence"):
            table.add_column(name, no_wrap=name == "when (UTC)")
        for a in pages:
            table.add_row(minute(a.time), *(Text(t) for t in (a.group, a.title.removeprefix(f"{a.group}: "), a.confidence)))
        console.print(table)
    each = f"{len(pages) * 7 / DAYS:.1f} a week; {len(tickets)} tickets besides"
    print(f"{team}: statistics would have paged {len(pages)} times in the last {DAYS} days, {each}.")
    environment, _, group = team.partition("/")
    budgets = {DEFAULT: PAGES_PER_WEEK, **settings.alert_budget}
    print(f"The alert budget allows {budgets[first_fitting(budgets, environment, group)]:g} a week.")


def agreed(question: str) -> bool:
    """Whether somebody says yes."""
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        return False
