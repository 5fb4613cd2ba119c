"""What is done to workers and to their broker while they work."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path

from tests.faults import clock
from tests.host import broker as kafka

PARTITIONS = 2
STORM = 2  # times that the third worker comes and goes in a rebalance storm
CONFIG = """\
kafka:
  bootstrap: ["{bootstrap}"]
  application: {name}
  driver: {driver}
  instance: "{instance}"
  topics: {{prefix: {name}, partitions: {partitions}}}
sources: [{{topic: {name}, encoding: prometheus_json{keyed}}}]
shadow: off
blind: {{lag: 100000d, no_input: 100d}}
checkpoint: {{every: 0.5s}}
health: {{listen: "127.0.0.1:{port}"}}
receivers: [{{name: file, file: {{path: "{folder}/alerts-{port}.jsonl"}}, at_least: info}}]
"""


class Worker:
    """A worker that is made to suffer. With an `instance` it has its partitions back without a rebalance."""

    def __init__(
        self, bootstrap: str, name: str, driver: str, folder: Path, chance: float, keyed: bool = False, instance: str = ""
    ) -> None:
        self.port = port = kafka.free_port()
        self.config, self.chance, self.log = folder / f"{port}.yaml", chance, folder / f"{port}.log"
        said = {"bootstrap": bootstrap, "name": name, "driver": driver, "port": port, "folder": folder}
        how = {"partitions": PARTITIONS, "keyed": ", keyed: group" if keyed else "", "instance": instance}
        self.config.write_text(CONFIG.format(**how, **said))
        self.process: subprocess.Popen[bytes] | None = None
        self.fell = 0  # how often it was killed from within

    def start(self) -> None:
        """Begin, or begin again."""
        command = [sys.executable, "-m", "tests.faults.worker", str(self.config), str(self.chance)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=Path(__file__).parents[2], env=os.environ)

    def alive(self) -> bool:
        """Whether it runs."""
        return self.process is not None and self.process.poll() is None

    def send(self, sign: signal.Signals) -> None:
        """A signal."""
        assert self.process
        with suppress(ProcessLookupError):
            self.process.send_signal(sign)

    def end(self, sign: signal.Signals) -> None:
        """A signal, and until it has ended."""
        assert self.process
        self.send(sign)
        try:
            self.process.wait(90)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGABRT)  # it says where it stands
            self.process.wait(10)
            raise AssertionError(f"does not end: {self.log.read_text(errors='replace')[-20000:]}") from None

    def jumps(self) -> int:
        """How often its clock jumped."""
        return self.log.read_text(errors="replace").count(clock.WORD) if self.log.exists() else 0


class Torment:
    """Kills, freezes, stops, rebalance storms and, of a broker of our own, restarts. `done` counts them by kind."""

    def __init__(self, workers: list[Worker], guest: Worker, chance: random.Random, own: kafka.Broker | None) -> None:
        self.workers, self.guest, self.chance, self.own = workers, guest, chance, own
        self.done: Counter[str] = Counter()

    async def until(self, kills: int) -> None:
        """At least so many kills; every other kind at least once."""
        shares = {self.kill: 70, self.freeze: 12, self.stop: 8, self.storm: 4, self.restart: 6 if self.own else 0}
        first = [self.storm, self.restart, self.freeze] if self.own else [self.storm, self.freeze]
        while self.done["kills"] < kills or first:
            await asyncio.sleep(self.chance.uniform(1.0, 12.0))
            self._raise_the_fallen()
            deed = self.chance.choices(list(shares), list(shares.values()))[0]
            if first and self.chance.random() < 0.5:
                deed = first[0]
            if deed in first:
                first.remove(deed)
            await deed()

    async def kill(self) -> None:
        """kill -9, and another start."""
        worker = self.chance.choice(self.workers)
        worker.end(signal.SIGKILL)
        self.done["kills"] += 1
        worker.start()

    async def freeze(self) -> None:
        """For longer than a session: others take over, and it comes back a zombie."""
        worker = self.chance.choice(self.workers)
        worker.send(signal.SIGSTOP)
        await asyncio.sleep(self.chance.uniform(11.0, 14.0))
        worker.send(signal.SIGCONT)
        self.done["frozen"] += 1

    async def stop(self) -> None:
        """As an upgrade does it."""
        worker = self.chance.choice(self.workers)
        await asyncio.to_thread(worker.end, signal.SIGTERM)
        worker.start()
        self.done["stops"] += 1

    async def storm(self) -> None:
        """A third worker that has hardly come when it goes again, and again."""
        for _ in range(STORM):
            self.guest.start()
            await asyncio.sleep(self.chance.uniform(4.0, 9.0))
            await asyncio.to_thread(self.guest.end, self.chance.choice([signal.SIGTERM, signal.SIGKILL]))
            self.done["rebalances"] += 1

    async def restart(self) -> None:
        """The broker goes, by itself or by force, and is back on the same data; now and then a worker dies meanwhile."""
        assert self.own
        await asyncio.to_thread(self.own.end, self.chance.choice([signal.SIGTERM, signal.SIGKILL]))
        await asyncio.sleep(self.chance.uniform(0.5, 5.0))
        if self.chance.random() < 0.3:
            await self.kill()
        await asyncio.to_thread(self.own.start)
        self.done["broker_restarts"] += 1

    def _raise_the_fallen(self) -> None:
        for fallen in [w for w in self.workers if not w.alive()]:
            assert fallen.process
            assert fallen.process.returncode == -signal.SIGKILL, fallen.log.read_text()[-3000:]
            self.done["kills"] += 1
            fallen.start()
