"""`anomaly run` that may end itself between the steps of a checkpoint's transaction: where random kills hardly ever hit.

`python -m tests.faults.worker CONFIG CHANCE`: at each step it dies with that chance. Its wall clock jumps all the while.
"""

import asyncio
import faulthandler
import gc
import os
import random
import signal
import sys
from typing import Any

from tests.faults import clock

JUMPS_EVERY = 5.0  # seconds


def perhaps(chance: float) -> None:
    """Let the process be killed, once in a while, wherever a transaction stands."""
    from anomaly.host.state_topic import StateTopic

    def reached(step: str) -> None:
        del step
        if random.random() < chance:
            os.kill(os.getpid(), signal.SIGKILL)

    StateTopic.reached = staticmethod(reached)


def tell(*_: Any) -> None:
    """What every task waits for, and where the threads stand; then the end."""
    for task in [each for each in gc.get_objects() if isinstance(each, asyncio.Task) and not each.done()]:
        print(task.get_name(), file=sys.stderr)
        task.print_stack(file=sys.stderr)
    faulthandler.dump_traceback(all_threads=True)
    os._exit(1)


def run(config: str) -> int:
    """As the command line does it."""
    from anomaly.cli import main

    return main(["run", "--config", config, "--log", "warning"])


if __name__ == "__main__":
    faulthandler.enable()
    signal.signal(signal.SIGABRT, tell)
    clock.jump(JUMPS_EVERY)
    perhaps(float(sys.argv[2]))
    sys.exit(run(sys.argv[1]))
