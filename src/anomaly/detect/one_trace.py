"""What is odd about one trace, or session: its steps, by all that was ever learned of their contexts (`sequences`).

A step (a, b) has probability (K + 1/2) / (N + 1), of N traces that came to a and K that went on with b; where b never was
there, alpha / (N + 1). That a successor which most traces have is missing has (N - K + 1/2) / (N + 1). Scores are -log10.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from anomaly.decode.identity import Series
from anomaly.decode.index import MISSING
from anomaly.decode.steps_series import NEXT, OPERATION, STEP, STEPS
from anomaly.detect.sequences import FEWEST, RARER, Sequences, level, new_in
from anomaly.detect.trace_rows import hash_of

RARE = 3.0  # told are steps that come once in a thousand


class Step(NamedTuple):
    """A step of a trace, its score, and whether it is missing."""

    step: str
    next: str
    score: float
    missing: bool


def odd_steps(sequences: Sequences, who: Series, events: Sequence[str]) -> list[Step]:
    """What is odd, the oddest first, of events from start to end; `who` is any series of the group and operation."""
    pairs = set(pairwise(events))
    found = [one for step in dict.fromkeys(events[:-1]) for one in _after(sequences, _named(who, step), step, pairs)]
    return sorted((one for one in found if one.score >= RARE), key=lambda one: -one.score)


def _after(sequences: Sequences, context: Series, step: str, pairs: set[tuple[str, str]]) -> list[Step]:
    """All that came after a step, and what did not."""
    rows = sequences.rows
    at, total = rows.one(hash_of(sequences.seed, context)), rows.table["total"]
    if at == MISSING or total[at] < FEWEST:
        return []
    n, alpha = float(total[at]), new_in(rows.groups[int(rows.row["group"][at])])
    others = np.flatnonzero((rows.row["of"] == at) & (rows.row["key"] != 0)).tolist()
    known = {dict(rows.series(row).labels)[NEXT]: float(total[row]) for row in others if row != at}
    found = []
    for b in sorted(b for a, b in pairs if a == step):
        new = alpha * (RARER if level(b) in ("error", "fatal") else 1.0)
        found.append(Step(step, b, -math.log10(min((known[b] + 0.5 if known.get(b) else new) / (n + 1.0), 1.0)), False))
    for b, k in sorted(known.items()):
        if 2.0 * k >= n and (step, b) not in pairs:
            found.append(Step(step, b, -math.log10((n - k + 0.5) / (n + 1.0)), True))
    return found


def _named(who: Series, step: str) -> Series:
    """The context of a step."""
    labels = (*(label for label in who.labels if label[0] == OPERATION), (STEP, step))
    return Series(
        0, who.group_hash, who.environment, who.group, STEPS, who.unit, tuple(sorted(labels)), who.instance, who.kind
    )
