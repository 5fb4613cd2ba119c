"""Apache Kafka for tests and benchmarks: one broker in KRaft mode, from the jars that Maven put into .cache/kafka.

`KAFKA_BOOTSTRAP` names another cluster to use instead.
"""

import asyncio
import base64
import logging
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError

ROOT = Path(__file__).resolve().parents[2]
JARS = ROOT / ".cache" / "kafka"
INSTALL = "apt-get install -y openjdk-17-jre-headless maven"
FETCH = "mvn -q -B dependency:copy-dependencies"
START_WITHIN = 60.0

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
log.dirs={data}
num.partitions=4
auto.create.topics.enable=false
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
log.cleaner.backoff.ms=200
"""


class Missing(Exception):
    """What the broker needs is not there; the message says how to install it."""


def jars() -> Path:
    """The folder of Kafka's jars, filled by Maven at first use."""
    if not shutil.which("java"):
        raise Missing(f"Java is missing: {INSTALL}")
    if not any(JARS.glob("kafka_2.13-*.jar")):
        if not shutil.which("mvn"):
            raise Missing(f"Maven is missing: {INSTALL}")
        subprocess.run(FETCH.split(), cwd=ROOT, check=True, timeout=600)
    return JARS


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def _java(*arguments: str) -> list[str]:
    options = ["-Xmx512m", "-Xms256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=4"]
    return ["java", *options, "-cp", f"{jars()}/*", *arguments]


def _await_start(address: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Its port is open before it can make a topic: so make one."""
    until = time.monotonic() + START_WITHIN
    with ThreadPoolExecutor(1) as thread:  # the caller's own thread may have a loop that runs
        while time.monotonic() < until and process.poll() is None:
            if thread.submit(asyncio.run, _makes_a_topic(address)).result():
                return
            time.sleep(0.2)
    raise RuntimeError(f"Kafka did not start:\n{log.read_text(errors='replace')[-2000:]}")


async def _makes_a_topic(address: str) -> bool:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    admin = AIOKafkaAdminClient(bootstrap_servers=address, request_timeout_ms=3000)
    try:
        await admin.start()
        answer = await admin.create_topics([NewTopic("ready", 1, 1)])
        return all(code in (0, TopicAlreadyExistsError.errno) for _, code, *_ in answer.topic_errors)
    except (TimeoutError, KafkaError, OSError):
        return False
    finally:
        await admin.close()
        logging.getLogger("aiokafka").setLevel(logging.NOTSET)


class Broker:
    """A broker of our own: a process that can be ended and begun again on the same data and port."""

    def __init__(self, folder: Path) -> None:
        self.folder, port = folder, free_port()
        self.bootstrap, self.log = f"127.0.0.1:{port}", folder / "server.log"
        self._config = folder / "server.properties"
        self._config.write_text(PROPERTIES.format(port=port, controller=free_port(), data=folder / "data"))
        # An id with a dash in front is taken for an option.
        cluster = "A" + base64.urlsafe_b64encode(uuid4().bytes).decode()[1:22]
        format_it = _java("kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(self._config))
        subprocess.run(format_it, check=True, capture_output=True, timeout=60)

    def start(self) -> None:
        """Begin, or begin again; it is ready when this returns."""
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(_java("kafka.Kafka", str(self._config)), stdout=out, stderr=subprocess.STDOUT)
        _await_start(self.bootstrap, self._process, self.log)

    def end(self, sign: signal.Signals = signal.SIGKILL) -> None:
        """A signal, and until it has ended. What it wrote is with the operating system, and stays."""
        self._process.send_signal(sign)
        self._process.wait(60)


@contextmanager
def own_broker() -> Iterator[Broker]:
    """A broker for whoever does things to it that others would not like."""
    jars()  # or Missing, before anything is made
    folder = Path(tempfile.mkdtemp(prefix="anomaly-kafka-"))
    made = Broker(folder)
    try:
        made.start()
        yield made
    finally:
        made.end()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def broker() -> Iterator[str]:
    """The bootstrap address of a broker that lives as long as the block."""
    if given := os.environ.get("KAFKA_BOOTSTRAP"):
        yield given
        return
    with own_broker() as own:
        yield own.bootstrap
