"""What traces and sessions tell of the order in which things happen, and of how long they take, as series.

A trace's span goes from `start` over its lines and its calls to `end`; one thing and the next are a step. `trace.steps` by
`span.name` (empty for lines of no span), `step` and `next`: in how many traces the one followed the other; without `next` in
how many the first came at all, Kind.DELTA. `trace.self` (s) by `span.name`: how long a span took without its children;
`trace.total`; `trace.between` by `client` and `span.name`: how much of the caller's time the callee did not work; all
HISTOGRAM_DELTA with `spans_series.BOUNDS`. Points are of a cell of CELL ms, of a group and no instance, and parts
(`Flag.PART`).

Behind a point's buckets (a step has none) stand at most EXEMPLARS exemplars, three words each: the halves of the trace id as
in `Spans`, and when it happened, ms. They are bits that travel as float64, and no numbers: nobody may compute with them.
"""

import numpy as np
from numpy.typing import NDArray

STEPS, SELF, TOTAL, BETWEEN = "trace.steps", "trace.self", "trace.total", "trace.between"
METRICS = STEPS, SELF, TOTAL, BETWEEN
OPERATION, STEP, NEXT, CLIENT, CODE = "span.name", "step", "next", "client", "code"
CELL = 10_000  # ms
START, END, CALL = "start", "end", "call"
EXEMPLARS = 4  # of a point at most
WORDS = 3  # of an exemplar


def as_buckets(words: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Exemplars uint64 (n, WORDS) as they travel, float64 (n * WORDS,)."""
    return np.ascontiguousarray(words).view(np.float64).reshape(-1)


def as_words(buckets: NDArray[np.float64]) -> NDArray[np.uint64]:
    """The same back, uint64 (n, WORDS)."""
    return np.ascontiguousarray(buckets).view(np.uint64).reshape(-1, WORDS)


def hexadecimal(high: int, low: int) -> str:
    """A trace id from its halves, as people write it."""
    return (high.to_bytes(8, "little") + low.to_bytes(8, "little")).hex()
