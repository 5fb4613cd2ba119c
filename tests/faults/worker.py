"""`anomaly run` that may end itself between the steps of a checkpoint's transaction: where random kills hardly ever hit.

`python -m tests.faults.worker CONFIG CHANCE`: at each step it dies with that chance.
"""

import os
import random
import signal
import sys

from anomaly.cli import main
from anomaly.host.state_topic import StateTopic


def perhaps(chance: float) -> None:
    """Let the process be killed, once in a while, wherever a transaction stands."""

    def reached(step: str) -> None:
        del step
        if random.random() < chance:
            os.kill(os.getpid(), signal.SIGKILL)

    StateTopic.reached = staticmethod(reached)


if __name__ == "__main__":
    perhaps(float(sys.argv[2]))
    sys.exit(main(["run", "--config", sys.argv[1], "--log", "warning"]))
