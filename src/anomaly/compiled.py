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
