"""What waits to be sent to one receiver: at most two alerts of an incident, the most urgent first.

While an alert waits, a newer one of its incident takes its place: nobody needs to be told what is over. The place is in
memory; the alerts themselves are on the alerts topic, from which a restarted host reads on. A durable outbox would keep
`_waiting` and `_done` elsewhere and change nothing else here.
"""

from collections import OrderedDict
from enum import StrEnum

from msgspec import Struct, structs

from anomaly.dispatch.alert import Alert, Severity, What

ROOM = 10_000  # incidents: more than a receiver can be told in an hour
REMEMBERED = 10_000  # ids of alerts sent, so that a repetition of the topic is not one to people
PATIENCE = 3  # tries after which an alert lets others pass: it may be at fault itself
URGENCY = {Severity.CRITICAL: 1, Severity.WARNING: 2, Severity.INFO: 3}


class Put(StrEnum):
    """What became of an alert that was put in."""

    WAITS = "waits"
    REPEATED = "repeated"  # the same id was sent, or waits
    OVERTAKEN = "overtaken"  # the incident was over before anybody was told of it


class Waiting(Struct):
    """An alert, its place in the order of arrival, and how often it was tried."""

    alert: Alert
    order: int
    tries: int = 0
    perhaps_sent: bool = False  # somebody may know of it already


class Outbox:
    """The alerts that one receiver has not got yet."""

    def __init__(self, room: int = ROOM) -> None:
        self._room = room
        self._waiting: dict[str, list[Waiting]] = {}  # by dedup_key, in order
        self._away: Waiting | None = None  # being sent
        self._done: OrderedDict[str, None] = OrderedDict()
        self._arrived = 0

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values())) + (self._away is not None)

    def has_room(self, alert: Alert) -> bool:
        """Whether the alert may be put in now: room is for incidents, and one that waits already has its place."""
        return alert.dedup_key in self._waiting or len(self._waiting) < self._room

    def put(self, alert: Alert, perhaps_sent: bool = False) -> Put:
        """Let it wait, or take the place of an older one of its incident."""
        if self._knows(alert):
            return Put.REPEATED
        self._arrived += 1
        queue = self._waiting.pop(alert.dedup_key, [])
        left = meet(queue[-1], alert) if queue else [Waiting(alert, self._arrived)]
        if left:
            left[-1].perhaps_sent |= perhaps_sent
        self._keep(alert.dedup_key, [*queue[:-1], *left])
        self._drop([*(w.alert for w in queue[-1:]), alert], left)
        return Put.WAITS if left else Put.OVERTAKEN

    def take(self) -> Waiting | None:
        """The most urgent one, for sending: resolves, then critical ones, then the rest; `sent` or `back` must follow."""
        heads = [queue[0] for queue in self._waiting.values()]
        if not heads:
            return None
        self._away = min(heads, key=urgency)
        key = self._away.alert.dedup_key
        self._keep(key, self._waiting.pop(key)[1:])
        return self._away

    def sent(self) -> None:
        """The one that was taken needs no other try; it may have arrived, or have been refused for good."""
        if self._away:
            self.remember(self._away.alert)
        self._away = None

    def back(self) -> None:
        """The one that was taken needs another try, if nothing newer has come in the meantime."""
        away, self._away = self._away, None
        if away is None:
            return
        away.tries, away.perhaps_sent = away.tries + 1, True
        queue = self._waiting.pop(away.alert.dedup_key, [])
        first = meet(away, queue[0].alert) if queue else [away]
        self._keep(away.alert.dedup_key, [*first, *queue[1:]])
        self._drop([away.alert], first)

    def remember(self, alert: Alert) -> None:
        """It needs no sending any more, should it come again."""
        self._done[alert.id] = None
        if len(self._done) > REMEMBERED:
            self._done.popitem(last=False)

    def _drop(self, met: list[Alert], left: list[Waiting]) -> None:
        """Remember those that gave way: an old trigger that comes again must not open what is over."""
        staying = {w.alert.id for w in left}
        for alert in met:
            if alert.id not in staying:
                self.remember(alert)

    def _keep(self, key: str, queue: list[Waiting]) -> None:
        if queue:
            self._waiting[key] = queue

    def _knows(self, alert: Alert) -> bool:
        waiting = self._waiting.get(alert.dedup_key, [])
        away = [self._away] if self._away else []
        return alert.id in self._done or any(w.alert.id == alert.id for w in (*waiting, *away))


def meet(before: Waiting, after: Alert) -> list[Waiting]:
    """What is left of an alert that waits when the next one of its incident comes."""
    newer = Waiting(after, before.order, before.tries, before.perhaps_sent)
    if before.alert.event is What.RESOLVE:
        return [newer] if after.event is What.RESOLVE else [before, Waiting(after, before.order)]
    if before.alert.event is What.TRIGGER and after.event is What.RESOLVE:
        return [newer] if before.perhaps_sent else []
    if before.alert.event is What.TRIGGER and after.event is What.UPDATE:
        newer.alert = structs.replace(after, event=What.TRIGGER)  # nobody has been told yet: this is how they hear of it
    return [newer]


def urgency(waiting: Waiting) -> tuple[int, int, int]:
    """The least is sent first. Good news first: it ends somebody's night."""
    urgent = 0 if waiting.alert.event is What.RESOLVE else URGENCY[waiting.alert.severity]
    return waiting.tries // PATIENCE, urgent, waiting.order
