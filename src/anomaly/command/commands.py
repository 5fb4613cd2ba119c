"""The commands that one partition of a stage knows, and what follows from them at a time of the data (ms).

All that is asked is a function of the commands and of that time, not of when they came: a command that is read twice, or
before its time, or long after, means the same. A command of an id that is known takes the place of the one before; the end
of a thing (`expire`) is kept as its earlier end. Windows that are over are forgotten after KEPT; past MOST no new ones are
taken, and `take` says so.

What was withheld while a silence lasted is looked at again some time AFTER its end, several times, not at once: an anomaly
that is over with the maintenance ends only when its series was well for some points, and nobody is to be woken by that.
"""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

import msgspec
from msgspec import Struct

from anomaly.command.command import Command, Expire, Plan, Promote, Shadow, Silence, Stops, Window, ms
from anomaly.command.matcher import Matcher, parsed
from anomaly.state import refuse_newer

MOST = 1_000  # windows, and as many teams
AFTER = (60_000, 300_000, 900_000, 3_600_000)  # ms; who speaks seldom is waited for longer (`dispatch.quiet`)
KEPT = 86_400_000  # ms: what is late is still silenced, and what is over can still be asked for
VERSION = 1
NEVER = 1 << 62


class AllKept(Struct, frozen=True):
    """The commands of a partition, as they are kept; `seen`: ms up to which turns were told of; `news`: one came later."""

    commands: list[Command]
    seen: int
    news: bool
    version: int = VERSION


_to_bytes, _from_bytes = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(AllKept).decode


class Held:
    """A window, ready to be asked."""

    def __init__(self, command: Window) -> None:
        self.command, self.matchers = command, parsed(command.matchers)
        self.begin, self.end = ms(command.starts_at), ms(command.ends_at)

    def fits(self, labels: Mapping[str, str]) -> bool:
        """Whether all matchers do."""
        return all(m.fits(labels) for m in self.matchers)

    def lasts(self, since: int, time: int) -> bool:
        """Whether this, or some time since, is its time."""
        return self.begin <= time and since < self.end

    @property
    def stops_output(self) -> bool:
        """Whether nobody is told."""
        return isinstance(self.command, Silence) and self.command.stops is not Stops.LEARNING

    @property
    def stops_learning(self) -> bool:
        """Whether nothing is learned."""
        return not (isinstance(self.command, Silence) and self.command.stops is Stops.OUTPUT)

    @property
    def factor(self) -> float:
        """How many times the usual is expected."""
        return self.command.factor if isinstance(self.command, Plan) else 1.0

    def about(self, names: tuple[str, ...]) -> tuple[Matcher, ...]:
        """The matchers of some labels alone."""
        return tuple(m for m in self.matchers if m.name in names)


class Commands:
    """The silences, plans and switches that are known."""

    def __init__(self) -> None:
        self._windows: dict[str, Held] = {}
        self._teams: dict[str, Promote | Shadow] = {}
        self._seen, self._news, self._next = 0, False, NEVER

    def __len__(self) -> int:
        return len(self._windows) + len(self._teams)

    def take(self, command: Command) -> bool:
        """Follow a command from now on; whether there was room for it."""
        if isinstance(command, Expire):
            self._expire(command)
        elif isinstance(command, Promote | Shadow):
            if command.id not in self._teams and len(self._teams) >= MOST:
                return False
            self._teams[command.id] = command
        else:
            if command.id not in self._windows and len(self._windows) >= MOST:
                return False
            self._windows[command.id] = Held(command)
        self._news |= turns_of(command)[0] <= self._seen
        self._plan()
        return True

    def silence(self, labels: Mapping[str, str], time: int, since: int | None = None) -> Silence | None:
        """The silence for which nobody is told of something with these labels at this time, or some time `since`: of several
        the last to end."""
        span = (time if since is None else since), time
        fitting = [h for h in self._windows.values() if h.stops_output and h.lasts(*span) and h.fits(labels)]
        found = max(fitting, key=lambda h: (h.end, h.command.id), default=None)
        return found.command if found and isinstance(found.command, Silence) else None

    def as_of(self, time: int) -> int:
        """The time for which it is asked about what happened at `time`: what comes so late that nobody will look again is
        not silenced any more, or nobody would ever be told."""
        return max(time, self._seen - AFTER[-1])

    @property
    def any_silence(self) -> bool:
        """Whether there is one that stops output, at whatever time."""
        return any(h.stops_output for h in self._windows.values())

    def switched(self, environment: str, group: str, time: int) -> Promote | Shadow | None:
        """The last switch of a team that the group is of, up to this time."""
        fitting = [c for c in self._teams.values() if ms(c.time) <= time and is_of(c.team, environment, group)]
        return max(fitting, key=lambda c: (c.time, c.id), default=None)

    def windows(self) -> Iterator[Held]:
        """All that are known, in the order in which they were made."""
        return iter(sorted(self._windows.values(), key=lambda h: (h.command.time, h.command.id)))

    def turned(self, now: int) -> bool:
        """Whether something ended, or was switched, some AFTER ago, since this was asked last: what was withheld may be
        due."""
        if now <= self._seen and not self._news:
            return False
        turned, self._news = self._news or self._next <= now, False
        if now > self._seen:
            self._seen = now
            if self._next <= now:
                self._forget(now)
                self._plan()
        return turned

    def all(self) -> list[Command]:
        """Every command that is known."""
        return [*(h.command for h in self.windows()), *sorted(self._teams.values(), key=lambda c: (c.time, c.id))]

    def dump(self) -> bytes:
        """As they are kept; nothing where there never were any."""
        return _to_bytes(AllKept(self.all(), self._seen, self._news)) if len(self) or self._seen or self._news else b""

    def load(self, data: bytes) -> None:
        """Be the one who dumped this; of nothing: know nothing."""
        if not data:
            return
        refuse_newer(data, VERSION, "commands")
        kept = _from_bytes(data)
        for command in kept.commands:
            self.take(command)
        self._seen, self._news = kept.seen, kept.news
        self._plan()

    def _expire(self, command: Expire) -> None:
        held = self._windows.get(command.id)
        if held is None or ms(command.time) >= held.end:
            return
        if ms(command.time) <= held.begin:
            del self._windows[command.id]
            return
        self._windows[command.id] = Held(msgspec.structs.replace(held.command, ends_at=command.time))

    def _forget(self, now: int) -> None:
        self._windows = {k: h for k, h in self._windows.items() if h.end + KEPT > now}

    def _plan(self) -> None:
        """When the next thing turns."""
        turns = [turn for c in self.all() for turn in turns_of(c)] + [h.end + KEPT for h in self._windows.values()]
        self._next = min((t for t in turns if t > self._seen), default=NEVER)


def turns_of(command: Command) -> list[int]:
    """When what was withheld may be due."""
    over = ms(command.ends_at if isinstance(command, Silence | Plan) else command.time)
    return [over + after for after in AFTER]


def is_of(team: str, environment: str, group: str) -> bool:
    """Whether a group is of a team: an environment, or a pattern of environment/group."""
    return fnmatchcase(environment, team) or fnmatchcase(f"{environment}/{group}", team)
