"""What detect tells of the surroundings: where things run (`facts`), and what was changed (`changes`).

A series is looked at once, when it is not known, and read only if it may tell something.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from anomaly.config.settings import Settings
from anomaly.decode.block import Announced
from anomaly.decode.points import Points
from anomaly.decode.texts import Strung
from anomaly.detect import changes, facts
from anomaly.detect.beside import Change, Facts
from anomaly.detect.changes import VERSIONS, Changes
from anomaly.detect.facts import Places


class Kept(msgspec.Struct):
    """The state."""

    changes: changes.Kept
    facts: facts.Kept


_to_kept: Any = msgspec.msgpack.Encoder().encode
_from_kept: Any = msgspec.msgpack.Decoder(Kept).decode


class Context:
    """Facts and changes of a partition; `told` are those that wait to be told."""

    def __init__(self, settings: Settings) -> None:
        self.changes = Changes(settings.limits.changes, settings.identity.seed)
        self.places = Places(settings.limits.facts, settings.identity.seed)
        self.told: list[Facts | Change] = []

    def announced(self, new: Announced, points: Points, heard: int) -> Announced:
        """Look at series that were not known before a block of these points; returns those that are no changes."""
        when = When(points, heard)
        for i, key in self.places.new(Strung.of(new.text)):
            self._meet(key, new.text[i], partial(when, int(new.hash[i])))
        return self.changes.announced(new)

    def _meet(self, key: int, text: bytes, when: Callable[[], int]) -> None:
        found, met = self.places.look(key, text, when)
        self.told += found
        if met is not None:
            label = next((label for label in VERSIONS if met.labels.get(label)), None)
            if label:
                self.told += self.changes.version(met.environment, met.group, label, met.labels[label], when())

    def take(self, points: Points) -> Points:
        """The points but for changes."""
        points, found = self.changes.take(points)
        self.told += found
        return points

    def say(self) -> list[Facts | Change]:
        """What is to be told, in order of time."""
        told, self.told = sorted(self.told, key=lambda each: each.time), []
        return told

    def find(self, series: NDArray[np.uint64]) -> NDArray[np.int32]:
        """As `Changes.find`."""
        return self.changes.find(series)

    def overflow(self) -> list[tuple[str, str, int]]:
        """As `Detector.overflow`."""
        return self.changes.overflow() + self.places.overflow()

    def dump(self) -> bytes:
        """All state."""
        data: bytes = _to_kept(Kept(self.changes.dump(), self.places.dump()))
        return data

    def load(self, data: bytes) -> None:
        """What `dump` gave; nothing of a state from before."""
        if data:
            kept = _from_kept(data)
            self.changes.load(kept.changes)
            self.places.load(kept.facts)


class When:
    """The time of the first point of a series in a block, ms; looked for when somebody asks."""

    def __init__(self, points: Points, heard: int) -> None:
        self._points, self._heard = points, heard
        self._first: dict[int, int] | None = None

    def __call__(self, series: int) -> int:
        if self._first is None:
            found, at = np.unique(self._points.series, return_index=True)
            self._first = dict(zip(found.tolist(), self._points.time[at].tolist(), strict=True))
        return self._first.get(series, self._heard)
