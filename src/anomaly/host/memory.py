"""How a worker that holds hundreds of megabytes of arrays asks the system for memory."""

import ctypes
import gc
from contextlib import suppress

# Parameters of glibc's mallopt(3), which other libraries do not know.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3

LARGE = 8 << 20  # bytes: longer than what a block needs, shorter than what is kept
SPARE = 64 << 20  # bytes of the heap that are kept for the next block


def large_apart() -> None:
    """Give arrays that are kept a mapping of their own, each, for good.

    By itself the allocator takes ever larger ones from its heap: what is freed as arrays grow stays there, a tenth of a
    worker with a million series, and room that they have and do not use yet is filled with zeros.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(MMAP_THRESHOLD, LARGE)
        library.mallopt(TRIM_THRESHOLD, SPARE)


def for_ever() -> None:
    """What is there by now, the compiler's leavings above all, stays: the collector need not look through it again.

    That would stop the worker for a tenth of a second each time.
    """
    gc.collect()
    gc.freeze()
