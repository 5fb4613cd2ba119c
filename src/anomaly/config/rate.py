"""How often, as people write it: `10 per week`, `1 per day`; `none` where nothing bounds it."""

import re

WEEKS = {"hour": 1 / 168, "day": 1 / 7, "week": 1.0, "month": 30 / 7}
PART = re.compile(r"([0-9]+(?:\.[0-9]+)?) per (hour|day|week|month)")
REMEDY = "write pages per time, as 10 per week or 1 per day, or none for no ceiling"
LEAST, MOST = 0.1, 100_000.0  # a week


def per_week(text: str) -> float:
    """So often a week; ValueError, with the remedy, for what says no such thing. `none` is infinity."""
    if text.strip() == "none":
        return float("inf")
    fits = PART.fullmatch(" ".join(text.split()))
    if fits is None:
        raise ValueError(f"is no budget; {REMEDY}")
    rate = float(fits[1]) / WEEKS[fits[2]]
    if not LEAST <= rate <= MOST:
        raise ValueError(f"is out of range: between 1 per month and {MOST:.0f} per week; {REMEDY}")
    return rate
