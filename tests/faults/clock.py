"""A wall clock that jumps: what a virtual machine, or somebody at NTP, may do to a worker."""

import random
import sys
import time

FAR = 3300.0  # seconds; a broker refuses records that are an hour ahead of it
WORD = "the clock jumped"


def jump(every: float) -> None:
    """From now on the time of day jumps every so many seconds, up to FAR to either side. To be called before all imports."""
    true_time, chance = time.time, random.Random()
    state = {"off": 0.0, "next": time.monotonic() + chance.uniform(0.5, 1.5) * every}

    def now() -> float:
        if time.monotonic() > state["next"]:
            state["off"] = chance.uniform(-FAR, FAR)
            state["next"] = time.monotonic() + chance.uniform(0.5, 1.5) * every
            print(f"{WORD} to {state['off']:+.0f} s", file=sys.stderr, flush=True)
        return true_time() + state["off"]

    time.time = now
    time.time_ns = lambda: int(now() * 1e9)
