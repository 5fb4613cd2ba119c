"""Durations as people write them: `250ms`, `30s`, `5m`, `1h30m`, `2d`, `1w`."""

import re

SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d|w)")
REMEDY = "write it with a unit: 250ms, 30s, 5m, 2h or 1d"


def seconds(text: str) -> float:
    """The seconds of a duration; ValueError, with the remedy, for what is none. A number needs its unit."""
    text = text.strip()
    parts = PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"is no duration; {REMEDY}")
    return sum(float(number) * SECONDS[unit] for number, unit in parts)
