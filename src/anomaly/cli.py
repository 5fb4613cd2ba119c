"""The command line: which host runs the engine, on what configuration.

Exit codes: 0 as it should be, 1 failed, 2 wrong usage or configuration, 3 the data is not there. Hosts are imported where
they are used, so that `--help` and `check` answer at once.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from anomaly import __version__, logs
from anomaly.command.file import commands_in
from anomaly.config import duration
from anomaly.config.load import load, load_specs
from anomaly.config.mistake import ConfigError, Mistake
from anomaly.config.models import ModelSpec
from anomaly.config.settings import ReceiverSettings, Settings, SourceSettings, Stdout
from anomaly.host import silence_command

FAILED, WRONG, NO_DATA, INTERRUPTED = 1, 2, 3, 130
if TYPE_CHECKING:
    from anomaly.host.past import Past

OFFSET = "offset:"
STAGES = ("decode", "detect", "correlate", "deliver")
KINDS = ("pagerduty", "alertmanager", "webhook", "stdout", "file")
NOBODY = ReceiverSettings(name="stdout", stdout=Stdout())  # who gets the alerts where nobody is named

ABOUT = "Streaming telemetry anomaly detector: metrics in, one alert per real problem out."
EXAMPLES = """\
examples:
  anomaly demo                                see it work: a shop, a fault, the alert, its end
  anomaly replay cpu.csv --report out.html    what would it have alerted?
  anomaly check anomaly.yaml                  is the configuration right, and what would it do?
  anomaly run --config anomaly.yaml           run it

exit codes: 0 as it should be, 1 failed, 2 wrong usage or configuration, 3 the data is not there
"""


class Offset(NamedTuple):
    """An offset of each partition."""

    number: int


def parser() -> argparse.ArgumentParser:
    """Every command and its options."""
    top = argparse.ArgumentParser(
        prog="anomaly", description=ABOUT, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("--version", action="version", version=f"anomaly {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)

    run_ = commands.add_parser("run", help="run on Kafka, or without it on OTLP over HTTP", description=run.__doc__)
    run_.add_argument("--config", metavar="FILE", help="the configuration (YAML)")
    with_settings(run_)
    run_.add_argument("--input", action="append", metavar="FILE", help="without Kafka: read this, `-` for stdin, and end")
    run_.add_argument("--encoding", metavar="NAME", help="of the input, where its name does not tell it")
    run_.add_argument("--stages", type=stages, metavar="NAMES", help=f"on Kafka, only these of {','.join(STAGES)}")
    run_.add_argument("--log", choices=logs.LEVELS, default="info", help="log from this level on (default: info)")
    run_.set_defaults(command=run)

    check_ = commands.add_parser("check", help="validate a configuration", description=check.__doc__)
    check_.add_argument("config", metavar="CONFIG", help="the configuration (YAML)")
    with_settings(check_)
    check_.set_defaults(command=check)

    replay_ = commands.add_parser("replay", help="run history through, at full speed", description=replay.__doc__)
    with_past(replay_)
    replay_.add_argument("--json", action="store_true", help="alerts as JSON lines, then a summary")
    replay_.add_argument("--report", metavar="HTML", help="write a report with plots, one self-contained file")
    known = "known anomalies, by file (as NAB's combined_windows.json) or group: found, missed, false?"
    replay_.add_argument("--labels", metavar="JSON", help=known)
    replay_.add_argument("--against", metavar="FILE", help="another configuration: how do the alerts differ from its?")
    replay_.add_argument("--save-state", metavar="DIRECTORY", help="keep what was learned, for a run to begin with")
    said = "silences, plans and switches to follow, as JSON lines (schema anomaly.command/1)"
    replay_.add_argument("--commands", metavar="FILE", help=said)
    replay_.set_defaults(command=replay)

    explain_ = commands.add_parser("explain", help="take a score apart", description=explain.__doc__)
    with_past(explain_)
    which = "which series: a metric, a group, or group/metric; * stands for anything"
    explain_.add_argument("--series", metavar="PATTERN", default="*", help=which)
    explain_.add_argument("--at", type=moment, metavar="TIME", required=True, help="the first value from this time on")
    explain_.add_argument("--json", action="store_true", help="a JSON line each")
    explain_.set_defaults(command=explain)

    demo_ = commands.add_parser("demo", help="real services, a fault, the alert and its end", description=demo.__doc__)
    demo_.add_argument("--headless", action="store_true", help="plain lines, no screen")
    demo_.add_argument("--json", action="store_true", help="the outcome as one JSON line")
    demo_.set_defaults(command=demo)

    state_ = commands.add_parser("state", help="look at what is kept, export and import it", description=state.__doc__)
    state_.add_argument("action", choices=("inspect", "export", "import"))
    state_.add_argument("directory", nargs="?", metavar="DIRECTORY", help="to export to, or to import from")
    state_.add_argument("--config", metavar="FILE", help="the configuration (YAML)")
    with_settings(state_)
    state_.set_defaults(command=state)

    series_ = commands.add_parser("series", help="list the series that are known", description=series.__doc__)
    series_.add_argument("--config", metavar="FILE", help="the configuration (YAML)")
    with_settings(series_)
    series_.add_argument("--match", metavar="PATTERN", default="*", help="only metrics that fit, as queue.* (default: all)")
    series_.add_argument("--json", action="store_true", help="a JSON line each")
    series_.set_defaults(command=series)

    budget_ = commands.add_parser("budget", help="how the alert budgets stand", description=budget.__doc__)
    budget_.add_argument("--config", metavar="FILE", help="the configuration (YAML)")
    with_settings(budget_)
    budget_.add_argument("--json", action="store_true", help="a JSON line each")
    budget_.set_defaults(command=budget)

    probe_ = commands.add_parser("probe", help="make the synthetic checks", description=probe.__doc__)
    probe_.add_argument("config", metavar="CONFIG", help="the configuration (YAML), with `probes`")
    with_settings(probe_)
    probe_.add_argument("--once", action="store_true", help="make each check once and print a table; 1: one failed")
    probe_.set_defaults(command=probe)

    silence_command.add_to(commands, moment, seconds, with_settings)

    compile_ = commands.add_parser("compile", help="compile the kernels, once per installation", description=compile.__doc__)
    compile_.set_defaults(command=compile)
    return top


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit code."""
    args = parser().parse_args(arguments)
    try:
        return int(args.command(args))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return WRONG
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def configured(args: argparse.Namespace) -> tuple[Settings, tuple[ModelSpec, ...]]:
    """Settings and specs that a command was given. Alerts that nobody is to get are printed."""
    settings = load(args.config, os.environ, args.set)
    settings = settings if settings.receivers else replace(settings, receivers=[NOBODY])
    return settings, load_specs(settings.models)


def run(args: argparse.Namespace) -> int:
    """Read metrics, judge them, send alerts, until stopped: from Kafka if the configuration names it, else over HTTP."""
    settings, specs = configured(args)
    if args.stages and settings.kafka is None:
        print("--stages: stages are split on Kafka only, and the configuration names none", file=sys.stderr)
        return WRONG
    if args.input and settings.kafka is not None:
        print("--input: a file is read without Kafka only, and the configuration names brokers", file=sys.stderr)
        return WRONG
    logs.to_stderr(args.log)
    if settings.kafka is None:
        return run_embedded(args, settings, specs)
    from anomaly.host.health import Health
    from anomaly.host.kafka import run_kafka

    return run_kafka(in_shadow(settings), specs, args.stages or STAGES, Health())


def in_shadow(settings: Settings) -> Settings:
    """On Kafka a team is in shadow until somebody promotes it, or the configuration says otherwise."""
    return replace(settings, shadow={"default": True, **settings.shadow})


def out_of_shadow(settings: Settings) -> Settings:
    """A replay shows what would page."""
    return replace(settings, shadow={})


def run_embedded(args: argparse.Namespace, settings: Settings, specs: Sequence[ModelSpec]) -> int:
    """Run without Kafka; the kernels are made ready before anybody is let in."""
    from anomaly.host.compile import compile_kernels
    from anomaly.host.embedded import run_embedded
    from anomaly.host.files import NoData, checked
    from anomaly.host.health import Health
    from anomaly.state import Newer

    files, health = args.input or (), Health()
    try:
        checked(files)
        health.compile_seconds(compile_kernels())
        return run_embedded(settings, specs, health, files=files, encoding=args.encoding)
    except NoData as error:
        print(f"anomaly: {error}", file=sys.stderr)
        return NO_DATA
    except Newer as error:
        print(f"anomaly: {error}", file=sys.stderr)
        return FAILED


def check(args: argparse.Namespace) -> int:
    """Find every mistake of a configuration, or say what it would do."""
    settings, specs = configured(args)
    print(f"{args.config} is right. It would")
    for line in plan(settings, specs):
        print(f"  {line}")
    return 0


def plan(settings: Settings, specs: Sequence[ModelSpec]) -> list[str]:
    """What a configuration does, a line each."""
    names = ", ".join(s.name for s in specs)
    lines = [f"judge by {len(specs)} model specs: {names}"]
    lines += [f"send to {receiver.name}: {kind(receiver)}, {receiver.at_least} and above" for receiver in settings.receivers]
    if settings.kafka is not None and in_shadow(settings).shadow["default"]:
        lines.append("page nobody on statistics alone, but record it (shadow), until `anomaly promote TEAM`")
    lines.append(f"serve http://{settings.health.listen}/metrics, /healthz and /readyz")
    return reads(settings) + lines


def reads(settings: Settings) -> list[str]:
    """Where the points come from."""
    if settings.kafka is None:
        listen = settings.otlp.listen if settings.otlp else "its default address"
        return [f"receive OTLP at http://{listen}/v1/metrics"]
    brokers = ", ".join(settings.kafka.bootstrap)
    return [f"read {s.topic} ({s.encoding}, at most {s.lateness:g} s late) from {brokers}" for s in settings.sources]


def kind(receiver: ReceiverSettings) -> str:
    """What a receiver is."""
    return next(k for k in KINDS if getattr(receiver, k) is not None)


def replay(args: argparse.Namespace) -> int:
    """Run history through the detector, and show what it would have alerted, or with --against how that differs from what
    another configuration would have alerted (--set is of --config alone). The same history gives the same output."""
    own, other = configured(args), configured_against(args)
    own = out_of_shadow(own[0]), own[1]
    past = past_of(args, own[0])
    logs.to_stderr("warning")
    from anomaly.host.replay import Config, Output, replay

    output = Output(args.json, args.report, args.labels, args.save_state, commands_in(args.commands))
    config = Config(*own, name_of(args))
    against = Config(*other, args.against) if other else None
    return replay(past, config, output, against)


def explain(args: argparse.Namespace) -> int:
    """Run history through to a moment, and say of a series what was expected then, what made its score, and what reduced
    it."""
    settings, specs = configured(args)
    past = past_of(args, settings)
    logs.to_stderr("warning")
    from anomaly.host.explain import Question, explain
    from anomaly.host.replay import Config

    return explain(past, Config(settings, specs), Question(args.series, args.at), args.json)


def name_of(args: argparse.Namespace) -> str:
    """What a person calls the configuration of a command."""
    return " with ".join([args.config or "the built-in configuration", *([", ".join(args.set)] if args.set else [])])


def configured_against(args: argparse.Namespace) -> tuple[Settings, tuple[ModelSpec, ...]] | None:
    """The configuration that another one is held against, if one is."""
    if args.against is None:
        return None
    settings = load(args.against, os.environ)
    return out_of_shadow(settings), load_specs(settings.models)


def past_of(args: argparse.Namespace, settings: Settings) -> "Past":
    """The history that a command was given."""
    begin, end = args.begin, args.end
    numbers = [None if not isinstance(at, Offset) else at.number for at in (begin, end)]
    begin, end = (None if isinstance(at, Offset) else at for at in (begin, end))
    if args.files and (args.topic or numbers != [None, None]):
        raise ConfigError(
            [Mistake("--topic" if args.topic else "offset", "", "is of Kafka, and files are named; leave out one")]
        )
    from anomaly.host.past import Files, Stretch

    stretch = Stretch(begin, end, args.warm_up)
    if args.files:
        return Files(args.files, args.encoding, stretch)
    sources = topics_of(args, settings)
    from anomaly.host.past_topics import Topics

    assert settings.kafka is not None
    return Topics(settings.kafka, sources, stretch, first=numbers[0], past_last=numbers[1])


def topics_of(args: argparse.Namespace, settings: Settings) -> list[SourceSettings]:
    """The topics that a command was given: sources of the configuration, or others whose encoding is said."""
    if settings.kafka is None:
        raise ConfigError([Mistake("", "", "nothing to read: name FILES, or a configuration with kafka and sources")])
    known = {source.topic: source for source in settings.sources}
    unknown = [name for name in args.topic if name not in known]
    if unknown and args.encoding is None:
        raise ConfigError([Mistake("--topic", "", f"{unknown[0]} is none of the sources; say its --encoding")])
    if not (args.topic or known):
        raise ConfigError([Mistake("", "sources", "is empty: name a --topic, or FILES")])
    return [known.get(name) or SourceSettings(topic=name, encoding=args.encoding) for name in args.topic or known]


def demo(args: argparse.Namespace) -> int:
    """Real small services under load, one of them made slow and failing: the alert within 15 s, and its end."""
    logs.to_stderr("warning")
    try:
        from anomaly.demo.story import demo
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("opentelemetry"):
            raise
        print("anomaly: the demo's services need the OpenTelemetry SDK: pip install 'anomaly[demo]'", file=sys.stderr)
        return FAILED
    return demo(args.headless, args.json)


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


def keeps(settings: Settings, command: str) -> bool:
    """Whether the configuration keeps anything that a command could show; says so where it does not."""
    kept = settings.kafka is not None or settings.checkpoint.directory is not None
    if not kept:
        print(f"{command}: nothing is kept: the configuration names neither Kafka nor checkpoint.directory", file=sys.stderr)
    return kept


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


def probe(args: argparse.Namespace) -> int:
    """Ask as users would (HTTP, TCP, DNS, TLS), each when it is due, and send what came of it, to a topic or by OTLP."""
    settings, _ = configured(args)
    if not settings.probes.checks:
        print(f"{args.config}: probes.checks is empty; name what is to be asked", file=sys.stderr)
        return WRONG
    logs.to_stderr("warning")
    from anomaly.host.probe_command import command

    return command(settings, args.once)


def compile(args: argparse.Namespace) -> int:
    """Compile the kernels and keep them beside the code, so that no worker has to wait at its start."""
    del args
    from anomaly.host.compile import compile_kernels

    print(f"kernels ready after {compile_kernels():.1f} s")
    return 0
