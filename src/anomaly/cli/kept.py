"""Commands that show what a run keeps: state, series, budget. Hosts are imported where they are used."""

import argparse
import sys

from anomaly import logs
from anomaly.cli.given import WRONG, configured
from anomaly.config.settings import Settings


def state(args: argparse.Namespace) -> int:
    """What the checkpoints on Kafka hold: a line a partition; or all of it into a directory, and back (workers stopped)."""
    settings, _ = configured(args)
    if settings.kafka is None:
        print("state: the configuration names no Kafka; without it the state is a directory already", file=sys.stderr)
        return WRONG
    if (args.action == "inspect") != (args.directory is None):
        print(f"state {args.action}: {'takes no' if args.directory else 'name a'} directory", file=sys.stderr)
        return WRONG
    logs.to_stderr("warning")
    from anomaly.host.state_command import command

    return command(args.action, settings, args.directory)


def series(args: argparse.Namespace) -> int:
    """What the newest checkpoints know of each series: who it is, its newest value, how long it was learned, is it warm."""
    settings, specs = configured(args)
    if not keeps(settings, "series"):
        return WRONG
    logs.to_stderr("warning")
    from anomaly.host.series_command import command

    return command(settings, specs, args.match, args.json)


def budget(args: argparse.Namespace) -> int:
    """What each alert budget spent and held, its threshold, and what others would have paged, by the newest checkpoints."""
    settings, specs = configured(args)
    if not keeps(settings, "budget"):
        return WRONG
    logs.to_stderr("warning")
    from anomaly.host.budget_command import command

    return command(settings, specs, args.json)


def keeps(settings: Settings, command: str) -> bool:
    """Whether the configuration keeps anything that a command could show; says so where it does not."""
    kept = settings.kafka is not None or settings.checkpoint.directory is not None
    if not kept:
        print(f"{command}: nothing is kept: the configuration names neither Kafka nor checkpoint.directory", file=sys.stderr)
    return kept
