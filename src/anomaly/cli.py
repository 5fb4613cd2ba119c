"""The command line: which host runs the engine, on what configuration.

Exit codes: 0 as it should be, 1 failed, 2 wrong usage or configuration, 3 the data is not there. Hosts are imported where
they are used, so that `--help` and `check` answer at once.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from msgspec.structs import replace

from anomaly import __version__, logs
from anomaly.config.load import load, load_specs
from anomaly.config.mistake import ConfigError
from anomaly.config.models import ModelSpec
from anomaly.config.settings import ReceiverSettings, Settings, Stdout

FAILED, WRONG, NO_DATA, INTERRUPTED = 1, 2, 3, 130
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
    replay_.add_argument("files", nargs="+", metavar="FILES", help="CSV (timestamp,value) or records, `-` for stdin")
    replay_.add_argument("--encoding", metavar="NAME", help="of the files, where their names do not tell it")
    replay_.add_argument("--json", action="store_true", help="alerts as JSON lines, then a summary")
    replay_.add_argument("--report", metavar="HTML", help="write a report with plots, one self-contained file")
    replay_.add_argument(
        "--labels", metavar="JSON", help="known anomalies (as NAB's combined_windows.json): found or missed?"
    )
    replay_.add_argument("--config", metavar="FILE", help="the configuration (default: the built-in one)")
    with_settings(replay_)
    replay_.set_defaults(command=replay)

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

    compile_ = commands.add_parser("compile", help="compile the kernels, once per installation", description=compile.__doc__)
    compile_.set_defaults(command=compile)
    return top


def with_settings(command: argparse.ArgumentParser) -> None:
    """Options over the configuration."""
    said = "over file and environment (ANOMALY_KEY__PATH); may be repeated"
    command.add_argument("--set", action="append", default=[], metavar="KEY.PATH=VALUE", help=said)


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

    return run_kafka(settings, specs, args.stages or STAGES, Health())


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
    """Run history through the detector, and show what it would have alerted. The same files give the same output."""
    settings, specs = configured(args)
    logs.to_stderr("warning")
    from anomaly.host.replay import replay

    return replay(
        args.files, settings, specs, encoding=args.encoding, json=args.json, report=args.report, labels=args.labels
    )


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


def series(args: argparse.Namespace) -> int:
    """What the newest checkpoints know of each series: who it is, its newest value, how long it was learned, is it warm."""
    settings, specs = configured(args)
    if settings.kafka is None and settings.checkpoint.directory is None:
        print("series: nothing is kept: the configuration names neither Kafka nor checkpoint.directory", file=sys.stderr)
        return WRONG
    logs.to_stderr("warning")
    from anomaly.host.series_command import command

    return command(settings, specs, args.match, args.json)


def compile(args: argparse.Namespace) -> int:
    """Compile the kernels and keep them beside the code, so that no worker has to wait at its start."""
    del args
    from anomaly.host.compile import compile_kernels

    print(f"kernels ready after {compile_kernels():.1f} s")
    return 0
