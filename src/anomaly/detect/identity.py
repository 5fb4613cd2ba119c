"""The id of an anomaly: a hash of who is concerned and when it started, without any seed."""

import hashlib
from collections.abc import Sequence

import orjson


def identity(key: Sequence[object], started: int) -> str:
    """The id of an episode."""
    return hashlib.sha256(orjson.dumps([*key, started])).hexdigest()[:32]
