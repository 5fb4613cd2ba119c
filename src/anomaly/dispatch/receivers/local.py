"""Receivers on this machine: standard output, as text for people or as JSON lines, and a file of JSON lines."""

import sys
from pathlib import Path

import aiohttp

from anomaly.config.settings import File, Stdout
from anomaly.dispatch.alert import Alert, encode
from anomaly.dispatch.receivers.answer import Sent


def block(alert: Alert) -> str:
    """The alert as lines that stand out between others."""
    head = f"{alert.severity.value.upper()} {alert.event.value} {alert.time}  {alert.title}"
    return "\n".join([head, *(f"  {line}".rstrip() for line in alert.text.splitlines()), ""])


class StdoutReceiver:
    """Standard output."""

    pace = 0.0

    def __init__(self, settings: Stdout) -> None:
        self._json = settings.json

    async def send(self, session: aiohttp.ClientSession, alert: Alert) -> Sent:
        """Written and flushed at once. A reader that has gone does not come back."""
        try:
            print(encode(alert).decode() if self._json else block(alert), flush=True, file=sys.stdout)
        except (OSError, ValueError) as error:
            return Sent(False, False, str(error))
        return Sent(True, False, "")


class FileReceiver:
    """A file; opened anew for each alert, so that it can be rotated."""

    pace = 0.0

    def __init__(self, settings: File) -> None:
        self._path = Path(settings.path)

    async def send(self, session: aiohttp.ClientSession, alert: Alert) -> Sent:
        """Appended. A full disk may have room again."""
        try:
            with self._path.open("ab") as file:
                file.write(encode(alert) + b"\n")
        except OSError as error:
            return Sent(False, True, str(error))
        return Sent(True, False, "")
