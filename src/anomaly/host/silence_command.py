"""`anomaly silence` and `anomaly plan`, after the habits of Alertmanager's amtool: add, query, expire.

And the options of `anomaly promote` and `anomaly shadow`, whose work is done in `promote_command`, which takes long to load.
"""

import argparse
import getpass
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from anomaly.command.command import BadCommand, Command, Expire, Plan, Silence, Stops, Window, at, encode, refuse
from anomaly.command.matcher import BadMatcher, parsed
from anomaly.config.load import load
from anomaly.config.settings import Keyed, Settings
from anomaly.host.command_sending import Unreachable, held, send

FAILED, WRONG, NOTHING = 1, 2, 3
HOUR = 3_600.0
NAMED = ("metric", "quantity", "signal")  # a plan without any of these is about traffic
ROW = "{:36}  {:16}  {:16}  {:8}  {:12}  {}"
ABOUT = {
    "silence": "Tell nobody of what fits, learn nothing from it, or both, for a time: maintenance must not become normal.",
    "plan": "Expect up to so many times the usual of what fits, for a time, and learn nothing from it. Where the matchers "
    "name neither metric nor signal, of traffic. Ratios, as of errors, are expected as ever.",
    "promote": "Show what statistics would have paged a team in the last 14 days, ask, and let them from now on.",
    "shadow": "Let statistics alone page a team no more; what they would have paged is recorded.",
}

Options = Callable[[argparse.ArgumentParser], None]
Reads = Callable[[str], Any]


def add_to(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", moment: Reads, seconds: Reads, own: Options
) -> None:
    """Both commands; `moment` and `seconds` read times and durations, `own` adds the options of every command."""
    for name, help in (
        ("silence", "mute, or stop learning, for a time"),
        ("plan", "expect more for a time, as 8 x traffic"),
    ):
        command = commands.add_parser(name, help=help, description=ABOUT[name])
        actions = command.add_subparsers(title="actions", metavar="ACTION", required=True)
        _add(actions.add_parser("add", help="make one, and print its id"), name, moment, seconds)
        query_ = actions.add_parser("query", help="those that last or are to come")
        query_.add_argument("--expired", action="store_true", help="those that are over, too")
        query_.add_argument("--json", action="store_true", help="a JSON line each")
        query_.set_defaults(command=query, of=Silence if name == "silence" else Plan)
        expire_ = actions.add_parser("expire", help="end them now")
        expire_.add_argument("ids", nargs="+", metavar="ID")
        expire_.set_defaults(command=expire)
        for action in actions.choices.values():
            action.add_argument("--config", metavar="FILE", help="the configuration (YAML)")
            own(action)
    for name, help in (("promote", "let statistics page a team"), ("shadow", "let them page it no more, but record")):
        switch_ = commands.add_parser(name, help=help, description=ABOUT[name])
        switch_.add_argument(
            "team", metavar="TEAM", help="an environment, or a pattern of environment/group, as prod/shop/*"
        )
        switch_.add_argument("--config", metavar="FILE", help="the configuration (YAML)")
        own(switch_)
        switch_.add_argument("--author", help="who says so (default: you)")
        switch_.add_argument("--comment", default="", help="why")
        if name == "promote":
            switch_.add_argument("--yes", action="store_true", help="do not ask")
        switch_.set_defaults(command=switch, name=name)


def _add(parser: argparse.ArgumentParser, name: str, moment: Reads, seconds: Reads) -> None:
    matchers = 'as group=~"shop/.*" environment=prod metric!=up: all of them fit; labels, and these, quantity and signal'
    parser.add_argument("matchers", nargs="+", metavar="MATCHER", help=matchers)
    parser.add_argument("--start", type=moment, metavar="TIME", help="from this time of the data on (default: now)")
    parser.add_argument("--end", type=moment, metavar="TIME", help="up to this time")
    parser.add_argument("--duration", type=seconds, default=HOUR, metavar="DURATION", help="or for so long (default: 1h)")
    parser.add_argument("--author", default=None, help="who says so (default: you)")
    parser.add_argument("--comment", required=True, help="why")
    if name == "silence":
        parser.add_argument("--stop", type=stops, default=Stops.BOTH, metavar="WHAT", help="output,learning (default: both)")
        parser.set_defaults(command=add, made=_silence)
    else:
        parser.add_argument("--factor", type=float, required=True, help="how many times the usual comes at most")
        parser.set_defaults(command=add, made=_plan)


def stops(text: str) -> Stops:
    """What a silence stops, as it is written on a command line."""
    said = {part.strip() for part in text.split(",")}
    if said == {"output", "learning"} or said == {"both"}:
        return Stops.BOTH
    if len(said) == 1 and said <= {"output", "learning"}:
        return Stops(said.pop())
    raise argparse.ArgumentTypeError(f"{text}: say output, learning, or output,learning")


def add(args: argparse.Namespace) -> int:
    """Make a silence or a plan."""
    settings = load(args.config, os.environ, args.set)
    start = datetime.now(UTC) if args.start is None else at(args.start)
    end = start + timedelta(seconds=args.duration) if args.end is None else at(args.end)
    try:
        command: Window = args.made(args, start, end)
        refuse(command)
        refuse_unlearnable(settings, command)
    except (BadCommand, BadMatcher) as error:
        print(f"anomaly: {error}", file=sys.stderr)
        return WRONG
    return told(settings, command) or print(command.id) or 0


def _silence(args: argparse.Namespace, start: datetime, end: datetime) -> Silence:
    matchers = tuple(str(m) for m in parsed(args.matchers))
    return Silence(**said(args.author, args.comment), matchers=matchers, starts_at=start, ends_at=end, stops=args.stop)


def _plan(args: argparse.Namespace, start: datetime, end: datetime) -> Plan:
    matchers = parsed(args.matchers)
    if not any(m.name in NAMED for m in matchers):
        matchers = (*matchers, *parsed(['signal="traffic"']))
    if not args.factor > 0:
        raise BadCommand("--factor: say how many times the usual is expected, as 8 or 0.5")
    texts = tuple(str(m) for m in matchers)
    return Plan(**said(args.author, args.comment), matchers=texts, starts_at=start, ends_at=end, factor=args.factor)


def said(author: str | None, comment: str, id: str = "") -> dict[str, Any]:
    """What every command has."""
    return {"id": id or str(uuid4()), "time": datetime.now(UTC), "who": author or getpass.getuser(), "comment": comment}


def refuse_unlearnable(settings: Settings, command: Window) -> None:
    """Raise BadCommand where learning cannot be stopped, say so where it can be stopped in part."""
    keyed = [source.topic for source in settings.sources if source.keyed is Keyed.GROUP]
    if not keyed or (isinstance(command, Silence) and command.stops is Stops.OUTPUT):
        return
    why = f"{', '.join(keyed)}: keyed by group, and what is learned of such a source cannot be stopped yet"
    if len(keyed) == len(settings.sources):
        raise BadCommand(f"{why}; --stop output silences it")
    print(f"anomaly: {why}", file=sys.stderr)


def query(args: argparse.Namespace) -> int:
    """Show those that are known."""
    settings, now = load(args.config, os.environ, args.set), datetime.now(UTC)
    try:
        found = [c for c in held(settings) if isinstance(c, args.of) and (args.expired or c.ends_at > now)]
    except Unreachable as error:
        print(f"anomaly: {error}", file=sys.stderr)
        return FAILED
    if not args.json:
        print(ROW.format("id", "from (UTC)", "to (UTC)", "what", "by", "of what, and why"))
    for command in found:
        print(encode(command).decode() if args.json else line(command))
    return 0 if found else NOTHING


def line(command: Window) -> str:
    """For a person."""
    what = command.stops.value if isinstance(command, Silence) else f"{command.factor:g} x"
    times = (f"{time.astimezone(UTC):%Y-%m-%d %H:%M}" for time in (command.starts_at, command.ends_at))
    about = " ".join(command.matchers) + (f": {command.comment}" if command.comment else "")
    return ROW.format(command.id, *times, what, command.who, about)


def expire(args: argparse.Namespace) -> int:
    """End silences or plans now."""
    settings = load(args.config, os.environ, args.set)
    try:
        known = {c.id for c in held(settings) if isinstance(c, Silence | Plan)}
    except Unreachable as error:
        print(f"anomaly: {error}", file=sys.stderr)
        return FAILED
    if missing := [name for name in args.ids if name not in known]:
        print(f"anomaly: {missing[0]}: there is none of this id, or it has ended", file=sys.stderr)
        return WRONG
    return max(told(settings, Expire(**said(None, "", name))) for name in args.ids)


def switch(args: argparse.Namespace) -> int:
    """Promote a team, or put it into shadow."""
    from anomaly.host import promote_command

    return int(getattr(promote_command, args.name)(args))


def told(settings: Settings, command: Command) -> int:
    """Send a command; the exit code."""
    try:
        send(settings, command)
    except Unreachable as error:
        print(f"anomaly: {error}", file=sys.stderr)
        return FAILED
    return 0
