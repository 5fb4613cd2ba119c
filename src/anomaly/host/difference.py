"""What one configuration would have alerted that another would not have, and what both at another time or severity.

Two incidents are the same trouble if they are of one group of one environment and overlap in time, from the beginning of the
anomalies to their end. Each is paired with one other at most; the pairs that overlap longest first. One that finds none is
added or removed; where a longer one of the other side covers its time all the same, it says so (`within`).
Earlier and later are those of the first alert, which is when somebody would have been called.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple

from anomaly.dispatch.alert import Severity
from anomaly.host.history import Case, History, duration
from anomaly.host.labelled import ms


class Kind(StrEnum):
    """How two replays differ about one trouble."""

    ADDED = "added"
    REMOVED = "removed"
    EARLIER = "earlier"
    LATER = "later"
    RAISED = "raised"  # at the same time, but more severe
    LOWERED = "lowered"
    SAME = "same"


class Change(NamedTuple):
    """One trouble: the incident `now`, the one `before`, at least one of them; `seconds` by which now is later."""

    kind: Kind
    now: Case | None
    before: Case | None
    seconds: float = 0.0
    within: Case | None = None  # of the other side

    @property
    def case(self) -> Case:
        """The one to speak of."""
        case = self.now or self.before
        assert case is not None
        return case

    @property
    def severity(self) -> str:
        """Before and now, where they differ."""
        severities = dict.fromkeys(c.worst.value for c in (self.before, self.now) if c)
        return " → ".join(severities)

    @property
    def how(self) -> str:
        """What a person asks next."""
        if self.seconds:
            return f"by {duration(abs(self.seconds))}"
        if self.within:
            return f"part of the one of {self.within.first.time[:16].replace('T', ' ')}"
        return ""

    def told(self) -> dict[str, object]:
        """For a program."""
        sides = {name: case and told(case) for name, case in (("now", self.now), ("before", self.before))}
        within = {"within": self.within.first.dedup_key} if self.within else {}
        return {"change": self.kind.value, "group": self.case.first.group, "by_s": self.seconds, **sides, **within}


def told(case: Case) -> dict[str, object]:
    """An incident for a program."""
    f = case.first
    ended = None if case.open else case.last.ended_at
    return {"dedup_key": f.dedup_key, "environment": f.environment, "alerted_at": f.time, "started_at": f.started_at,
            "ended_at": ended, "severity": case.worst.value, "title": f.title}  # fmt: skip


class Difference(NamedTuple):
    """All changes in order of time, those that are none included; `names` of the configurations, now and before."""

    changes: list[Change]
    names: tuple[str, str]

    def news(self) -> list[Change]:
        """Those that are some."""
        return [change for change in self.changes if change.kind is not Kind.SAME]

    def counts(self) -> dict[str, int]:
        """How many of each kind."""
        n = Counter(change.kind for change in self.changes)
        return {kind.value: n[kind] for kind in Kind}

    def sentence(self) -> str:
        """In words."""
        said = ", ".join(f"{n} {kind}" for kind, n in self.counts().items() if n) or "no alert in either"
        return f"{self.names[0]} against {self.names[1]}: {said}."


def difference(now: History, before: History, names: tuple[str, str]) -> Difference:
    """How `now` differs from `before`, about whatever one of them would first have alerted within the stretch."""
    found = list(changes(everything(now), everything(before), max(now.ends, before.ends)))
    asked = {id(case) for history in (now, before) for case in history.cases.values()}
    told = [c for c in found if id(c.now) in asked or id(c.before) in asked]
    return Difference(sorted(told, key=lambda c: (c.case.first.time, c.case.first.group, c.kind)), names)


def everything(history: History) -> list[Case]:
    """All incidents, those that were open before the stretch too: one may last into it."""
    return [*history.before.values(), *history.cases.values()]


def changes(now: Sequence[Case], before: Sequence[Case], ends: int) -> Iterator[Change]:
    """Each incident in one change; what lasts does so until `ends`, ms."""
    both = pairs(now, before, ends)
    paired_now, paired_before = {i for i, _ in both}, {j for _, j in both}
    for i, j in both:
        yield change(now[i], before[j])
    for i in sorted(set(range(len(now))) - paired_now):
        yield Change(Kind.ADDED, now[i], None, within=longest(now[i], before, ends))
    for j in sorted(set(range(len(before))) - paired_before):
        yield Change(Kind.REMOVED, None, before[j], within=longest(before[j], now, ends))


def pairs(now: Sequence[Case], before: Sequence[Case], ends: int) -> list[tuple[int, int]]:
    """Which belong together: those that overlap longest first, then those that began nearest to one another."""
    theirs: dict[tuple[str, str], list[int]] = {}
    for j, case in enumerate(before):
        theirs.setdefault(scope(case), []).append(j)
    candidates = []
    for i, mine in enumerate(now):
        for j in theirs.get(scope(mine), ()):
            if (common := overlap(mine, before[j], ends)) is not None:
                apart = abs(mine.span[0] - before[j].span[0])
                candidates.append((-common, apart, i, j))
    found, taken_now, taken_before = [], set[int](), set[int]()
    for _, _, i, j in sorted(candidates):
        if i not in taken_now and j not in taken_before:
            found.append((i, j))
            taken_now.add(i)
            taken_before.add(j)
    return found


def scope(case: Case) -> tuple[str, str]:
    """Where nothing outside can be the same trouble."""
    return case.first.environment, case.first.group


def overlap(a: Case, b: Case, ends: int) -> int | None:
    """For how many ms both lasted; None if they never did."""
    (a_begins, a_ends), (b_begins, b_ends) = a.span, b.span
    common = min(a_ends or ends, b_ends or ends) - max(a_begins, b_begins)
    return common if common >= 0 else None


def longest(case: Case, others: Iterable[Case], ends: int) -> Case | None:
    """The one of the others that covers most of it."""
    same = [(overlap(case, other, ends), other) for other in others if scope(other) == scope(case)]
    common = [(ms_, other) for ms_, other in same if ms_ is not None]
    return max(common, key=lambda each: each[0])[1] if common else None


def change(now: Case, before: Case) -> Change:
    """What became of an incident that both have."""
    seconds = (ms(now.first.time) - ms(before.first.time)) / 1000
    rank = list(Severity).index  # the first is the most severe
    step = rank(now.worst) - rank(before.worst)
    if seconds:
        return Change(Kind.EARLIER if seconds < 0 else Kind.LATER, now, before, seconds)
    return Change(Kind.SAME if not step else Kind.RAISED if step < 0 else Kind.LOWERED, now, before)
