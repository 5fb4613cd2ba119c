"""Where things run (node, zone, version), and what was changed of late, as detect tells it.

Of each fact it is known how many have it, of all that have one of its kind: in the environment, and of the group that
told it. So it can be said whether those that are ill have more of it than chance gives them: the hypergeometric upper
tail. At most `places` and `changes` are kept; those told first give way, changes also after LONG.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from msgspec import Struct

from anomaly.config.settings import Correlation
from anomaly.decode.identity import Labels
from anomaly.detect.anomaly import Anomaly
from anomaly.detect.beside import Change, Facts

LONG = 2 * 3_600_000  # ms that a change is remembered
VERSION = 1

Key = tuple[str, str, Labels]  # environment, group that told it, who


class PlacesMemory(Struct, frozen=True):
    """What is kept."""

    facts: list[Facts] = []
    changes: list[Change] = []
    version: int = VERSION


class Place(NamedTuple):
    """One fact about one of them: who has it, the group that told it, and the fact."""

    who: Labels
    group: str
    kind: str
    value: str


class Places:
    """The facts and changes of all environments."""

    def __init__(self, settings: Correlation) -> None:
        self._most, self._most_changes = settings.places, settings.changes
        self._facts: dict[Key, Facts] = {}
        self._by: dict[tuple[str, str, str], list[Key]] = defaultdict(list)  # environment, one label of who
        self._have: Counter[tuple[str, str, str, str]] = Counter()  # environment, group or "", kind, value
        self._all: Counter[tuple[str, str, str]] = Counter()  # environment, group or "", kind
        self._changes: dict[str, Change] = {}

    def learn(self, said: Facts | Change) -> None:
        """Take what was told; the last word about somebody counts."""
        if isinstance(said, Change):
            self._changes.setdefault(said.id, said)
            for old in [c.id for c in self._changes.values() if c.time < said.time - LONG]:
                del self._changes[old]
            if len(self._changes) > self._most_changes:
                del self._changes[next(iter(self._changes))]
            return
        key = said.environment, said.group, said.who
        if not said.who or (key in self._facts and self._facts[key].facts == said.facts):
            return
        if key in self._facts:
            self._count(self._facts[key], -1)
        else:
            self._by[said.environment, *handle(said.who)].append(key)
        self._facts[key] = said
        self._count(said, 1)
        if len(self._facts) > self._most:
            self._drop(next(iter(self._facts)))

    def where(self, anomaly: Anomaly) -> list[Place]:
        """What is known of where an anomaly is."""
        if not self._facts:
            return []
        labels = {*anomaly.labels, *anomaly.instance}
        known = (key for pair in labels for key in self._by.get((anomaly.environment, *pair), ()))
        keys = [key for key in known if labels.issuperset(key[2])]
        found = {Place(key[2], key[1], *pair) for key in keys for pair in self._facts[key].facts}
        return sorted(found)

    def chance(self, environment: str, scope: str, place: Place, ill: int, of: int) -> float:
        """How likely it is by chance that so many of the ill ones have a fact; `scope`: a group, "" for all."""
        have, all_ = self.known(environment, scope, place)
        return tail(ill, of, have, all_)

    def known(self, environment: str, scope: str, place: Place) -> tuple[int, int]:
        """How many have a fact, of how many that have one of its kind."""
        return self._have[environment, scope, place.kind, place.value], self._all[environment, scope, place.kind]

    def changes(self, environment: str, since: int, until: int) -> Iterator[Change]:
        """The changes in an interval of time."""
        return (c for c in self._changes.values() if c.environment == environment and since <= c.time <= until)

    def memory(self) -> PlacesMemory:
        """What is to be kept."""
        return PlacesMemory(list(self._facts.values()), list(self._changes.values()))

    def remember(self, memory: PlacesMemory) -> None:
        """Go on with what was kept; called on a new one."""
        for facts in memory.facts:
            self.learn(facts)
        self._changes = {change.id: change for change in memory.changes}

    def _count(self, facts: Facts, by: int) -> None:
        for scope in {"", facts.group}:
            for kind, value in facts.facts:
                self._have[facts.environment, scope, kind, value] += by
                self._all[facts.environment, scope, kind] += by

    def _drop(self, key: Key) -> None:
        self._count(self._facts.pop(key), -1)
        self._have, self._all = +self._have, +self._all
        by = key[0], *handle(key[2])
        self._by[by].remove(key)
        if not self._by[by]:
            del self._by[by]


def handle(who: Labels) -> tuple[str, str]:
    """The label by which somebody is looked for: the longest value, which few share."""
    return max(who, key=lambda pair: (len(pair[1]), pair))


def tail(ill: int, of: int, have: int, all_: int) -> float:
    """The probability that at least `ill` of `of` have what `have` of `all_` have, drawn without putting back.

    Written out in products, so that it is the same number on every machine.
    """
    of, have = min(of, all_), min(have, all_)
    if ill <= 0 or ill > min(of, have):
        return 1.0
    term = 1.0
    for i in range(ill):
        term *= (have - i) / (all_ - i) * (of - i) / (i + 1)
    for j in range(of - ill):
        term *= max(all_ - have - j, 0) / (all_ - ill - j)
    if term == 0.0 and ill < min(of, have):  # it has to be more
        return tail(ill + 1, of, have, all_)
    whole, k = term, ill
    while k < min(of, have) and term > 0.0:
        term *= (have - k) * (of - k) / ((k + 1) * max(all_ - have - of + k + 1, 1))
        whole, k = whole + term, k + 1
    return min(whole, 1.0)
