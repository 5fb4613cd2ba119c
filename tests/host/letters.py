"""Dead letters for tests."""

from anomaly.decode.records import BadRecord, DeadLetter, Records


def letter(reason: str) -> DeadLetter:
    """A whole record, set aside for a reason."""
    return Records.of([b"?"]).dead(0, BadRecord(reason))
