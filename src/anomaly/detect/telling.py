"""Which of many announced series may tell where things run, in compiled code; what they tell is read by `facts`.

A series may tell something if its metric says it of others, or if it is of an instance and one of its labels is a fact. Key
uint64 (n,) of each: 0 tells nothing, SAYS of others, else that of its instance: environment, group and instance labels.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from anomaly.compiled import bare
from anomaly.decode.texts import Strung
from anomaly.decode.wire import hash_bytes
from anomaly.detect.text import (
    EMPTY,
    END,
    ENVIRONMENT,
    INSTANCE,
    KIND,
    LABELS,
    METRIC,
    PADDING,
    UNIT,
    buffer,
    named,
    outline,
    to_text,
)  # fmt: skip

SAYS = 1


@bare
def keys_of(text, begin, size, metrics, names, seed, parts, keys):  # type: ignore[no-untyped-def]
    """The key of each text; one that cannot be read tells nothing."""
    for i in range(begin.size):
        keys[i] = 0
        if not outline(text, begin[i], begin[i] + size[i], parts):
            continue
        metric = hash_bytes(text, parts[METRIC], parts[UNIT], seed)
        for each in metrics:
            if metric == each:
                keys[i] = SAYS
        if keys[i] != 0 or text[parts[INSTANCE]] == EMPTY:
            continue
        if named(text, parts[LABELS], names, seed) != 0 or named(text, parts[INSTANCE], names, seed) != 0:
            of = hash_bytes(text, parts[ENVIRONMENT], parts[METRIC], seed)
            keys[i] = hash_bytes(text, parts[INSTANCE], parts[KIND], of) | np.uint64(2)


class Telling:
    """Finds them: those of `metrics`, and those with a label of these names."""

    def __init__(self, metrics: Iterable[str], names: Iterable[str], seed: int) -> None:
        self.seed = np.uint64(seed)
        self.metrics, self.names = (np.array([self._hash(word) for word in of], np.uint64) for of in (metrics, names))

    def keys(self, texts: Strung) -> NDArray[np.uint64]:
        """The key of each of these texts."""
        keys, text = np.empty(len(texts), np.uint64), np.append(texts.raw, np.zeros(PADDING, np.uint8))
        begin = np.cumsum(texts.size) - texts.size
        keys_of(text, begin, texts.size, self.metrics, self.names, self.seed, np.zeros(END + 1, np.int64), keys)
        return keys

    def _hash(self, word: str) -> int:
        text = to_text(word)
        return int(hash_bytes(buffer(text), 0, len(text), self.seed))
