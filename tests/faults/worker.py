"""`anomaly run` that may end itself between the steps of a checkpoint's transaction: where random kills hardly ever hit.

`python -m tests.faults.worker CONFIG CHANCE`: at each step it dies with that chance. Its wall clock jumps all the while.
"""

import faulthandler
import os
import random
import signal
import sys

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


def run(config: str) -> int:
    """As the command line does it."""
    from anomaly.cli import main

    return main(["run", "--config", config, "--log", "warning"])


if __name__ == "__main__":
    faulthandler.enable()
    clock.jump(JUMPS_EVERY)
    perhaps(float(sys.argv[2]))
    sys.exit(run(sys.argv[1]))
