"""Whose budget pays: the alert budgets of a partition of anomaly.anomalies, by environment and name; how they are kept."""

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase

import msgspec
from msgspec import Struct

from anomaly.config.settings import PAGES_PER_WEEK
from anomaly.dispatch.budget import STEP, Budget, Ledger, Reading
from anomaly.dispatch.offenders import Offenders, OffendersMemory
from anomaly.state import refuse_newer

DEFAULT = "default"  # the key of whom no other key names
ENVIRONMENTS = 1_000  # budgets of a partition; what comes past it shares one
VERSION = 1


class Kept(Struct, frozen=True):
    """One budget, as it is kept."""

    environment: str
    name: str
    ledger: Ledger
    offenders: OffendersMemory


class AllKept(Struct, frozen=True):
    """The budgets of a partition, as they are kept."""

    kept: list[Kept]
    version: int = VERSION


_to_bytes, _from_bytes = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(AllKept).decode


class Budgets:
    """The budgets of one partition of anomaly.anomalies. `per_week` is `settings.alert_budget`: name -> pages a week.

    A name is `default`, or a pattern of an environment or of `environment/group`; the first that fits counts.
    """

    def __init__(self, per_week: Mapping[str, float], step: float = STEP) -> None:
        self._per_week, self._step = {DEFAULT: PAGES_PER_WEEK, **per_week}, step
        self._held: dict[tuple[str, str], Budget] = {}

    def of(self, environment: str, group: str) -> Budget | None:
        """The budget that pays for a group's pages; None where there is no ceiling."""
        name = first_fitting(self._per_week, environment, group)
        per_week = self._per_week[name]
        if per_week == float("inf"):
            return None
        key = environment, name
        if key not in self._held and len(self._held) >= ENVIRONMENTS:
            key = "", DEFAULT
        if key not in self._held:
            self._held[key] = Budget(per_week, self._step)
        return self._held[key]

    def readings(self) -> Iterator[Reading]:
        """What an operator is shown of each."""
        return (self._held[key].reading(*key) for key in sorted(self._held))

    def dump(self) -> bytes:
        """As they are kept."""
        return _to_bytes(AllKept([Kept(*key, b.ledger, b.offenders.memory()) for key, b in self._held.items()]))

    def load(self, data: bytes) -> None:
        """Be the one who dumped this; what the configuration does not name now is forgotten. Of nothing: know nothing."""
        if not data:
            return
        refuse_newer(data, VERSION, "alert budgets")
        for kept in _from_bytes(data).kept:
            per_week = self._per_week.get(kept.name, float("inf"))
            if per_week < float("inf"):
                budget = Budget(per_week, self._step, kept.ledger, Offenders(kept.offenders))
                self._held[kept.environment, kept.name] = budget


def first_fitting(names: Iterable[str], environment: str, group: str) -> str:
    """The first of these patterns that fits the environment, or environment/group; else `default`."""
    whole = f"{environment}/{group}"
    fitting = (n for n in names if n != DEFAULT and (fnmatchcase(environment, n) or fnmatchcase(whole, n)))
    return next(fitting, DEFAULT)
