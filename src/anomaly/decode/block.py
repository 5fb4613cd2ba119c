"""What decode hands to detect: the points of the groups of one partition, and how far their source was heard."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from anomaly.decode.identity import Series
from anomaly.decode.points import Points


@dataclass(slots=True)
class Block:
    """Points of one input range [offset, next_offset) of (source, partition), for one partition of anomaly.points.

    `heard` is the event time in ms to which the input partition was heard, 0 if not known; a block without points is a
    tick: it only says that. `lateness` is the source's, in ms. `series` announces those whose points come for the first
    time, or again now and then.
    """

    source: str
    partition: int
    offset: int
    next_offset: int
    heard: int
    lateness: int
    points: Points
    series: Sequence[Series] = field(default_factory=list)
