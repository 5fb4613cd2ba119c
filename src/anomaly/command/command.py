"""What people tell the detector, as records of <prefix>.commands in the shape of the published schema `anomaly.command/1`.

A record's key is the command's id, and the topic is compacted: the last word about a thing is the one that counts. Times are
RFC 3339 and of the data, as those of alerts: a silence is about what happens in its time, whenever that is read.
"""

import re
from datetime import UTC, datetime
from enum import StrEnum
from importlib.resources import files
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from anomaly.command.matcher import BadMatcher, parsed

SCHEMA = "anomaly.command/1"
SCHEMA_FILE = "anomaly.command.1.json"
LARGEST = 64 << 10  # bytes of a command
TEAM = re.compile(r"[^\s]{1,200}")

Name = Annotated[str, Meta(min_length=1, max_length=200)]
Time = Annotated[datetime, Meta(tz=True)]


class BadCommand(ValueError):
    """What is wrong with a command."""


class Stops(StrEnum):
    """What a silence stops."""

    OUTPUT = "output"
    LEARNING = "learning"
    BOTH = "both"


class _Said(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What every command has."""

    schema: str = SCHEMA
    id: Name
    time: Time
    who: str = ""
    comment: str = ""


class Silence(_Said, frozen=True, kw_only=True, tag="silence"):
    """Nobody is told of what fits, or nothing is learned from it, or both, in [starts_at, ends_at)."""

    matchers: tuple[str, ...]
    starts_at: Time
    ends_at: Time
    stops: Stops = Stops.BOTH


class Plan(_Said, frozen=True, kw_only=True, tag="plan"):
    """What fits is expected to be up to `factor` times its usual in [starts_at, ends_at), and nothing is learned from it."""

    matchers: tuple[str, ...]
    starts_at: Time
    ends_at: Time
    factor: Annotated[float, Meta(gt=0, le=1e6)]


class Promote(_Said, frozen=True, kw_only=True, tag="promote"):
    """From now on statistics may page this team: an environment, or a pattern of environment/group."""

    team: str


class Shadow(_Said, frozen=True, kw_only=True, tag="shadow"):
    """From now on they may not."""

    team: str


class Expire(_Said, frozen=True, kw_only=True, tag="expire"):
    """The silence or plan with this id ends now."""


Window = Silence | Plan
Command = Silence | Plan | Promote | Shadow | Expire


class Copy(Struct, frozen=True, kw_only=True, tag="command", tag_field="type"):
    """A command on the input of a stage, among its events: whatever changes a stage's state is a record there."""

    command: Command


_read = msgspec.json.Decoder(Command)


def read(data: bytes) -> Command:
    """The command in a record; raises BadCommand."""
    if len(data) > LARGEST:
        raise BadCommand(f"more than {LARGEST} bytes")
    try:
        command: Command = _read.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadCommand(str(error)) from None
    refuse(command)
    return command


def refuse(command: Command) -> None:
    """Raise BadCommand for one that nobody can follow."""
    if command.schema != SCHEMA:
        raise BadCommand(f"schema {command.schema[:60]!r}, and this program reads {SCHEMA}")
    if isinstance(command, Silence | Plan):
        try:
            parsed(command.matchers)
        except BadMatcher as error:
            raise BadCommand(f"matchers: {error}") from None
        if not command.starts_at < command.ends_at:
            raise BadCommand("ends_at: is not after starts_at")
    if isinstance(command, Promote | Shadow) and not TEAM.fullmatch(command.team):
        raise BadCommand("team: name an environment, or a pattern of environment/group, as prod or prod/shop/*")


def encode(command: Command) -> bytes:
    """The command as JSON."""
    return msgspec.json.encode(command)


def ms(time: datetime) -> int:
    """A time as milliseconds since the epoch."""
    return round(time.timestamp() * 1000)


def at(time: int) -> datetime:
    """Milliseconds since the epoch as a command's time."""
    return datetime.fromtimestamp(time / 1000, UTC)


def published_schema() -> bytes:
    """The JSON Schema of a command, as it is shipped."""
    return (files("anomaly.command") / "schemas" / SCHEMA_FILE).read_bytes()
