"""Commands in a line, for tests; times are seconds into the story of `tests.dispatch.story`."""

from datetime import UTC, datetime
from typing import Any

from tests.dispatch.story import at

from anomaly.command.command import Expire, Plan, Promote, Shadow, Silence, Stops


def when(second: float) -> datetime:
    """A second of the story."""
    return datetime.fromtimestamp(at(second) / 1000, UTC)


def said(name: str, second: float) -> dict[str, Any]:
    """What every command has."""
    return {"id": name, "time": when(second), "who": "ann", "comment": "upgrade"}


def silence(*matchers: str, start: float, end: float, name: str = "s", stops: str = "both", made: float = -60.0) -> Silence:
    """Nobody is told from one second to another."""
    window: dict[str, Any] = {"starts_at": when(start), "ends_at": when(end), "stops": Stops(stops)}
    return Silence(**said(name, made), matchers=matchers, **window)


def plan(*matchers: str, factor: float, start: float, end: float, name: str = "p", made: float = -60.0) -> Plan:
    """More is expected from one second to another."""
    return Plan(**said(name, made), matchers=matchers, starts_at=when(start), ends_at=when(end), factor=float(factor))


def expire(second: float, name: str = "s") -> Expire:
    """It ends now."""
    return Expire(**said(name, second))


def promote(team: str, second: float) -> Promote:
    """Statistics may page it."""
    return Promote(**said(f"team:{team}", second), team=team)


def shadow(team: str, second: float) -> Shadow:
    """Statistics may not."""
    return Shadow(**said(f"team:{team}", second), team=team)
