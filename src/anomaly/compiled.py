"""How the hot path is compiled: one decorator, so that every kernel is cached, releases the GIL and can be bounds-checked.

numba does not check bounds by itself. The fuzz tests set ANOMALY_BOUNDSCHECK=1, which compiles afresh (never from or to
the cache) with every index checked.
"""

import os
from typing import Any

from numba import njit

CHECKED = os.environ.get("ANOMALY_BOUNDSCHECK", "") == "1"


def kernel(function: Any) -> Any:
    """Compile `function` at first use, or load it from the cache beside its source."""
    return njit(cache=not CHECKED, nogil=True, boundscheck=CHECKED)(function)


def bare(function: Any) -> Any:
    """A kernel that neither allocates nor returns an array, without reference counts: they halve the speed of a scanner.

    numba counts the uses of every array that it hands from kernel to kernel, by atomic increments.
    """
    return njit(cache=not CHECKED, nogil=True, boundscheck=CHECKED, _nrt=False, no_cfunc_wrapper=True)(function)


def inlined(function: Any) -> Any:
    """A bare kernel of a few lines that others call all the time: LLVM merges it into each caller."""
    options = {"_nrt": False, "no_cfunc_wrapper": True, "forceinline": True}
    return njit(cache=not CHECKED, nogil=True, boundscheck=CHECKED, **options)(function)
