"""Commands that run something, or say what would run: run, check, demo, probe, compile.

Hosts are imported where they are used, so that `--help` and `check` answer at once.
"""

import argparse
import sys
from collections.abc import Sequence

from anomaly import logs
from anomaly.cli.arguments import STAGES
from anomaly.cli.given import FAILED, NO_DATA, WRONG, configured, in_shadow
from anomaly.config.models import ModelSpec
from anomaly.config.settings import ReceiverSettings, Settings

KINDS = ("pagerduty", "alertmanager", "webhook", "stdout", "file")


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
