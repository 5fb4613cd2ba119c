"""The command line: which host runs the engine, on what configuration.

Exit codes: 0 as it should be, 1 failed, 2 wrong usage or configuration, 3 the data is not there. Every command is listed
here with its options; what it does is in `running`, `history` and `kept`.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from anomaly import __version__, logs
from anomaly.cli.arguments import STAGES, moment, seconds, stages, with_past, with_settings
from anomaly.cli.given import FAILED, INTERRUPTED, WRONG
from anomaly.cli.history import explain, replay
from anomaly.cli.kept import budget, series, state
from anomaly.cli.running import check, compile, demo, probe, run
from anomaly.config.mistake import ConfigError
from anomaly.host import silence_command

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
