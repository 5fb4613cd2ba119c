"""The demo on a terminal, or as plain lines where there is none."""

import time
from typing import Protocol, TextIO

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.live import Live as RichLive
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from anomaly.demo.pulse import Pulse, Vitals
from anomaly.demo.shop import SERVICES
from anomaly.dispatch.alert import Alert, Severity, What

EVERY = 5.0  # seconds between plain lines
LOOK = {Severity.CRITICAL: "bold red", Severity.WARNING: "yellow", Severity.INFO: "dim"}


class Screen(Protocol):
    """Where the story is told; entered before and left after it."""

    def __enter__(self) -> object: ...

    def __exit__(self, *_: object) -> None: ...

    def phase(self, what: str, seconds: float) -> None:
        """Something new begins, for at most so long (0: unknown)."""

    def show(self, pulse: Pulse, learned: float) -> None:
        """How the services are, and which share of the series is learned."""

    def alert(self, alert: Alert) -> None:
        """Somebody is told."""

    def end(self, good: bool, summary: str) -> None:
        """How it went."""


class Lines:
    """A line for whatever happens, and one every few seconds."""

    def __init__(self, out: TextIO) -> None:
        self._out, self._began, self._said = out, time.monotonic(), 0.0

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def phase(self, what: str, seconds: float) -> None:
        self._say(f"── {what}" + (f" (up to {seconds:.0f} s)" if seconds else ""))

    def show(self, pulse: Pulse, learned: float) -> None:
        if time.monotonic() - self._said >= EVERY:
            self._said = time.monotonic()
            services = (f"{name} {told(pulse.vitals(name))}" for name in SERVICES)
            self._say(f"{learned:.0%} learned · " + " · ".join(services))

    def alert(self, alert: Alert) -> None:
        self._say(f"{alert.event.upper()} {alert.severity}: {alert.title}")
        for line in alert.text.splitlines():
            self._say(f"  | {line}")

    def end(self, good: bool, summary: str) -> None:
        self._say(f"{'as it should be' if good else 'NOT as it should be'}: {summary}")

    def _say(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:6.1f} s  {text}", file=self._out, flush=True)


class Live:
    """A table that is drawn anew every second; alerts stay above it."""

    def __init__(self) -> None:
        self._console = Console()
        self._live = RichLive(console=self._console, auto_refresh=False)
        self._phase, self._since, self._seconds = "", time.monotonic(), 0.0
        self._began = time.monotonic()

    def __enter__(self) -> "Live":
        self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.__exit__(None, None, None)

    def phase(self, what: str, seconds: float) -> None:
        self._phase, self._since, self._seconds = what, time.monotonic(), seconds

    def show(self, pulse: Pulse, learned: float) -> None:
        self._live.update(Group(self._head(learned), table(pulse)), refresh=True)

    def alert(self, alert: Alert) -> None:
        self._console.print(panel(alert))

    def end(self, good: bool, summary: str) -> None:
        self._console.print(Text(summary, "bold green" if good else "bold red"))

    def _head(self, learned: float) -> RenderableType:
        gone = time.monotonic() - self._since
        left = f"  {gone:.0f} s of at most {self._seconds:.0f} s" if self._seconds else ""
        clock = f"{time.monotonic() - self._began:4.0f} s  "
        return Text.assemble((clock, "dim"), (self._phase, "bold"), (left, "dim"), f"   {learned:.0%} of the series learned")


def table(pulse: Pulse) -> Table:
    """The services."""
    drawn = Table(box=None, pad_edge=False, header_style="dim")
    drawn.add_column("service", min_width=12)
    for name in ("requests/s", "mean duration", "errors"):
        drawn.add_column(name, justify="right", min_width=14)
    for service in SERVICES:
        vitals = pulse.vitals(service)
        errors = Text(f"{vitals.errors:.0%}", "bold red" if vitals.errors > 0.01 else "")
        drawn.add_row(service, f"{vitals.rate:.1f}", milliseconds(vitals), errors)
    return drawn


def panel(alert: Alert) -> Panel:
    """An alert as whoever is on call reads it."""
    look = "green" if alert.event is What.RESOLVE else LOOK[alert.severity]
    title = Text(f" {alert.event.value} · {alert.severity.value} · {alert.title} ", look)
    return Panel(Text(alert.text), title=title, title_align="left", border_style=look)


def told(vitals: Vitals) -> str:
    """A service in few words."""
    return f"{vitals.rate:.0f}/s {milliseconds(vitals)} {vitals.errors:.0%} errors"


def milliseconds(vitals: Vitals) -> str:
    """The mean duration."""
    return "–" if np.isnan(vitals.duration) else f"{vitals.duration * 1000:.0f} ms"
