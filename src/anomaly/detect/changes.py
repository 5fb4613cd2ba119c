"""What was changed, told once: change events, and versions that a service did not have before.

Change events come as points marked `Flag.CHANGE` (`decode.changes`), are taken out here, and nothing is judged by them. A
sender repeats itself, and a controller says the same of each pod: what comes again within HOLD of the last time is not told.
A version of a group is that of its instances: the first of VERSIONS that they have. What a group has in its first LEARN, or
when it is first heard to have any, is how it is; one that comes later is a deployment, told with its first instance, whether
anybody announced it or not. Weak: a way back to a version that it still knows is none of these; somebody has to announce it.

Bounded: `limits.changes` kinds of changes, those heard last; as many groups, those that got a version last, with MOST
versions each. Ids are hashes without a seed, of what and when. Times ms of the data.
"""

from collections import OrderedDict

import msgspec
import numpy as np
from numpy.typing import NDArray

from anomaly.decode.block import Announced
from anomaly.decode.changes import BY, KIND, LINK, METRIC, WHAT
from anomaly.decode.identity import Labels, unpack
from anomaly.decode.index import MISSING
from anomaly.decode.points import Flag, Points
from anomaly.detect.beside import Change
from anomaly.detect.identity import identity

HOLD = 1_800_000
LEARN = 300_000
MOST = 16
VERSIONS = ("service.version", "container.image.tag", "container.image.tags")
BEFORE = "service.version.before"  # label of a deployment: what was there
OUR_TEXT = METRIC.encode()
NOBODY = "unknown"  # the group of what names none
SHORT = {KIND: "kind", BY: "by", LINK: "link"}


class Known(msgspec.Struct):
    """A kind of change, and when it was last heard of."""

    environment: str
    group: str
    kind: str
    what: str
    labels: Labels
    last: int = 0


class Had(msgspec.Struct):
    """The versions of a group, in the order in which they came, and since when it is known."""

    since: int
    values: list[str]


class Kept(msgspec.Struct):
    """The state."""

    seed: int
    known: list[tuple[int, Known]] = []
    had: list[tuple[str, str, str, Had]] = []
    version: int = 1


class Changes:
    """The changes of a partition."""

    def __init__(self, limit: int, seed: int) -> None:
        self.limit, self.seed, self.dropped = limit, seed, 0
        self._known: OrderedDict[int, Known] = OrderedDict()  # by series, heard last at the end
        self._had: OrderedDict[tuple[str, str, str], Had] = OrderedDict()
        self._keys = np.zeros(0, np.uint64)

    def find(self, series: NDArray[np.uint64]) -> NDArray[np.int32]:
        """0 for the series of changes, MISSING for others, shape (n,)."""
        if not self._known:
            return np.full(series.size, MISSING, np.int32)
        if self._keys.size != len(self._known):
            self._keys = np.fromiter(self._known, np.uint64, len(self._known))
        return np.where(np.isin(series, self._keys), 0, MISSING).astype(np.int32)

    def announced(self, new: Announced) -> Announced:
        """Learn the series of changes among these; returns the others."""
        ours = []
        for i in new.holding(OUR_TEXT):
            hashed = int(new.hash[i])
            series = unpack(hashed, new.text[i])
            labels = dict(series.labels + series.instance)
            if series.metric != METRIC or WHAT not in labels:
                continue
            ours.append(i)
            if hashed not in self._known:
                kind, what = labels.pop(KIND, "other"), labels.pop(WHAT)
                about = tuple(sorted((SHORT.get(k, k), v) for k, v in labels.items()))
                group = "" if series.group == NOBODY else series.group
                self._known[hashed] = Known(series.environment, group, kind, what, about)
                self._bound()
        return new.without(ours)

    def _bound(self) -> None:
        self._keys = self._keys[:0]
        while len(self._known) > self.limit:
            self._known.popitem(last=False)
            self.dropped += 1

    def take(self, points: Points) -> tuple[Points, list[Change]]:
        """The points that are no changes, or of unknown ones; and the changes that are to be told."""
        marked = points.flags & Flag.CHANGE != 0 if len(points) else np.zeros(0, np.bool_)
        if not marked.any():
            return points, []
        found = []
        ours = marked & (self.find(points.series) != MISSING)
        for i in np.flatnonzero(ours).tolist():
            found += self._heard(int(points.series[i]), int(points.time[i]))
        return points.take(~ours), found

    def _heard(self, series: int, time: int) -> list[Change]:
        known = self._known.pop(series)
        self._known[series] = known
        is_new, known.last = not known.last or time > known.last + HOLD, max(known.last, time)
        who = known.environment, known.group, known.kind, known.what, known.labels
        return [_change(*who, time)] if is_new else []

    def version(self, environment: str, group: str, label: str, value: str, time: int) -> list[Change]:
        """An instance of a group that was not known has this version."""
        key = environment, group, label
        had = self._had.pop(key, None) or Had(time, [])
        self._had[key] = had
        if len(self._had) > self.limit:
            self._had.popitem(last=False)
            self.dropped += 1
        if value in had.values:
            return []
        before, had.values = had.values[-1] if had.values else "", [*had.values, value][-MOST:]
        if not before or time < had.since + LEARN:
            return []
        labels = (("service.version", value), (BEFORE, before))
        return [_change(environment, group, "deployment", f"{group.rpartition('/')[2]} {before} → {value}", labels, time)]

    def overflow(self) -> list[tuple[str, str, int]]:
        """As `Detector.overflow`: kinds of changes, and groups, that had to be forgotten."""
        return [("", METRIC, self.dropped)] if self.dropped else []

    def dump(self) -> Kept:
        """All state."""
        return Kept(self.seed, list(self._known.items()), [(*key, had) for key, had in self._had.items()])

    def load(self, kept: Kept) -> None:
        """What `dump` gave. Under another seed changes are announced anew; one that is told again has the same id."""
        self._known = OrderedDict(kept.known if kept.seed == self.seed else ())
        self._had = OrderedDict(((environment, group, label), had) for environment, group, label, had in kept.had)
        self._keys = self._keys[:0]


def _change(environment: str, group: str, kind: str, what: str, labels: Labels, time: int) -> Change:
    held = identity((environment, group, METRIC, kind, what, labels), time)
    return Change(id=held, environment=environment, group=group, kind=kind, what=what, labels=labels, time=time)
