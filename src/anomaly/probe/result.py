"""What came of a check. It fails by `Failed`, whose text is what a person reads."""

from typing import NamedTuple


class Failed(Exception):
    """The check was answered otherwise than it should have been; `facts` were seen until then."""

    def __init__(self, why: str, facts: dict[str, float] | None = None) -> None:
        super().__init__(why)
        self.facts = facts or {}


class Result(NamedTuple):
    """Of one check: `time` ms since the epoch, `seconds` it took, `why` it failed ("": it did not), and what was seen, by
    metric."""

    name: str
    time: int
    seconds: float
    why: str
    facts: dict[str, float]


def place(address: str) -> tuple[str, int]:
    """Host and port."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
