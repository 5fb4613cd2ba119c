"""What is kept of what traces tell: rows are tables of the detector, here is the rest; and how groups move to another."""

from collections import Counter

import msgspec
import numpy as np
from numpy.typing import NDArray

from anomaly.detect.anomaly import Anomaly
from anomaly.detect.trace_rows import Group
from anomaly.detect.traced import Traced
from anomaly.state import refuse_newer

VERSION = 1


class Kept(msgspec.Struct, kw_only=True):
    """What is no row, as MessagePack."""

    seed: int
    time: int
    closed: int
    sources: dict[str, int]
    groups: list[list[Group]]  # of sequences and of durations
    over: list[dict[int, int]]
    open: list[list[tuple[int, Anomaly]]]
    known: list[list[Anomaly]]
    filled: list[float]
    lines: list[float]
    usual: tuple[float, float]
    heard: tuple[int, int] = (0, 0)  # in what was kept before it was known: nobody knows
    version: int = VERSION


_to_kept, _from_kept = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(Kept).decode


def dump(traced: Traced) -> bytes:
    """All but the rows; empty where no trace was met."""
    parts, episodes = traced.parts, traced.episodes
    if not traced.sources and not any(e.known for e in episodes):
        return b""
    return _to_kept(
        Kept(
            seed=traced.seed, time=traced.time, closed=traced.closed, sources=dict(sorted(traced.sources.items())),
            groups=[part.rows.groups for part in parts], over=[dict(part.rows.over) for part in parts],
            open=[sorted(e.open.items()) for e in episodes],
            known=[sorted(e.known.values(), key=lambda a: a.id) for e in episodes],
            filled=traced.filled.tolist(), lines=traced.lines.tolist(), usual=traced.usual,
            heard=(episodes[0].heard, episodes[1].heard),
        )
    )  # fmt: skip


def load(traced: Traced, data: bytes) -> None:
    """What `dump` gave, after the rows; raises Newer for what a later version did."""
    if not data:
        return
    refuse_newer(data, VERSION, "what was learned of traces")
    kept = _from_kept(data)
    traced.time, traced.closed, traced.sources = kept.time, kept.closed, kept.sources
    traced.filled, traced.lines, traced.usual = np.array(kept.filled), np.array(kept.lines), kept.usual
    for i, (part, episodes) in enumerate(zip(traced.parts, traced.episodes, strict=True)):
        part.rows.load(kept.groups[i], Counter(kept.over[i]), kept.seed)
        episodes.open, episodes.heard = dict(kept.open[i]), kept.heard[i]
        episodes.known = {a.key: a for a in kept.known[i]}


def hand_over(donor: Traced, to: Traced, groups: NDArray[np.uint64]) -> list[Anomaly]:
    """Give another partition what is known of these groups, hashes (n,); what is open of them.

    Counts that are not learned yet come along if both have judged the same cells, or the other one none.
    """
    to.closed, to.time = to.closed or donor.closed, to.time or donor.time
    to.sources = donor.sources | to.sources
    found: list[Anomaly] = []
    for part, its, episodes, others in zip(donor.parts, to.parts, donor.episodes, to.episodes, strict=True):
        rows = part.rows.hand_over(its.rows, groups, with_cells=to.closed == donor.closed)
        moved = {rows[row]: a for row, a in episodes.open.items() if row in rows}
        others.open |= moved
        others.heard = others.heard or episodes.heard
        found += moved.values()
    return found
