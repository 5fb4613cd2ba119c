"""How far a source has come: which offsets may be committed, and how many records are still to be read."""

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from typing import Any

from anomaly.host.blocks import Fetched, Place, Ticket


class Progress:
    """Which offsets may be committed: those below the first delivered block that is not settled."""

    def __init__(self) -> None:
        self._delivered: dict[Place, deque[Ticket]] = defaultdict(deque)
        self._done: dict[Place, int] = {}

    def deliver(self, block: Fetched) -> None:
        """A block was read. After a seek, blocks come again with other borders: a new one replaces what it covers."""
        self._prune(block.place)
        waiting = self._delivered[block.place]
        while waiting and waiting[-1].next_offset > block.first_offset:
            waiting.pop()
        waiting.append(block.ticket)

    def committable(self, place: Place) -> int | None:
        """The offset to commit, None if nothing was settled."""
        self._prune(place)
        return self._done.get(place)

    def places(self) -> set[Place]:
        """Partitions with blocks delivered or settled."""
        return {place for place, waiting in self._delivered.items() if waiting} | set(self._done)

    def forget(self, places: Iterable[Place]) -> None:
        """Other workers' partitions now."""
        for place in places:
            self._delivered.pop(place, None)
            self._done.pop(place, None)

    def _prune(self, place: Place) -> None:
        waiting = self._delivered[place]
        while waiting and waiting[0].is_settled():
            self._done[place] = waiting.popleft().next_offset


def positions(consumer: Any, topics: Sequence[str]) -> dict[Place, tuple[int, int]]:
    """(the offset that a consumer reads next, the end), of its partitions, as far as it knows them."""
    subscription = consumer._subscription.subscription if consumer else None
    if subscription is None or subscription.assignment is None:
        return {}
    found = {}
    for tp in subscription.assignment.tps:
        state = subscription.assignment.state_value(tp)
        if state and state.has_valid_position and state.highwater is not None and tp.topic in topics:
            found[Place(tp.topic, tp.partition)] = state.position, state.highwater
    return found


def unread(consumer: Any, topics: Sequence[str]) -> dict[Place, int]:
    """Records between a consumer's positions and the ends of its partitions."""
    return {place: max(end - at, 0) for place, (at, end) in positions(consumer, topics).items()}
