"""What may be typed as the value of an option, and the options that several commands have."""

import argparse
from datetime import UTC, datetime
from typing import NamedTuple

from anomaly.config import duration

OFFSET = "offset:"
STAGES = ("decode", "detect", "correlate", "deliver")


class Offset(NamedTuple):
    """An offset of each partition."""

    number: int


def with_settings(command: argparse.ArgumentParser) -> None:
    """Options over the configuration."""
    said = "over file and environment (ANOMALY_KEY__PATH); may be repeated"
    command.add_argument("--set", action="append", default=[], metavar="KEY.PATH=VALUE", help=said)


def with_past(command: argparse.ArgumentParser) -> None:
    """Which history, under which configuration."""
    read = "CSV (timestamp,value) or records, `-` for stdin; none: the sources of the configuration, on Kafka"
    command.add_argument("files", nargs="*", metavar="FILES", help=read)
    only = "on Kafka, only this one; read in no group, and nothing is written; may be repeated"
    command.add_argument("--topic", action="append", default=[], metavar="NAME", help=only)
    command.add_argument("--encoding", metavar="NAME", help="of what is read, where its name or the sources do not tell it")
    begins = "tell only what is alerted from this time on (ISO 8601, UTC without a zone); what is before is learned from"
    command.add_argument("--from", dest="begin", type=bound, metavar="TIME", help=begins)
    before = "read only what is before this time; on Kafka both may be offsets of each partition, as offset:1000"
    command.add_argument("--to", dest="end", type=bound, metavar="TIME", help=before)
    warm_up = "learn only from so long before --from, as 7d (default: from all that is there)"
    command.add_argument("--warm-up", type=seconds, metavar="DURATION", help=warm_up)
    command.add_argument("--config", metavar="FILE", help="the configuration (default: the built-in one)")
    with_settings(command)


def moment(text: str) -> int:
    """A time as milliseconds since the epoch."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: is no time; write it as 2026-01-31T09:30") from None
    return round((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)


def bound(text: str) -> "int | Offset":
    """A time, or an offset."""
    if text.startswith(OFFSET) and text.removeprefix(OFFSET).isdecimal():
        return Offset(int(text.removeprefix(OFFSET)))
    return moment(text)


def seconds(text: str) -> float:
    """A duration with its unit."""
    try:
        return duration.seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error}") from None


def stages(text: str) -> tuple[str, ...]:
    """Names with commas between."""
    names = tuple(name.strip() for name in text.split(","))
    unknown = [name for name in names if name not in STAGES]
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: no such stage; known: {', '.join(STAGES)}")
    return names
