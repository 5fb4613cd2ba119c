"""Starts a real Alertmanager where a test needs one."""

import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator

import pytest

CONFIG = """
route: {receiver: nobody, group_by: [alertname], group_wait: 0s, group_interval: 1s}
receivers: [{name: nobody}]
"""
NAMES = ("prometheus-alertmanager", "alertmanager")  # Debian's, and upstream's
UP_WITHIN = 30.0


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def is_ready(url: str) -> bool:
    """Whether it answers."""
    try:
        with urllib.request.urlopen(f"{url}/-/ready", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.fixture(scope="session")
def alertmanager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a real Alertmanager."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.fail("the tests send to a real Alertmanager: apt-get install -y prometheus-alertmanager", pytrace=False)
    folder = tmp_path_factory.mktemp("alertmanager")
    (folder / "config.yml").write_text(CONFIG)
    address = f"127.0.0.1:{free_port()}"
    options = [f"--config.file={folder / 'config.yml'}", f"--storage.path={folder}", f"--web.listen-address={address}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, *options, "--cluster.listen-address="], stdout=log, stderr=log)
    try:
        until = time.monotonic() + UP_WITHIN
        while not is_ready(f"http://{address}"):
            if process.poll() is not None or time.monotonic() > until:
                pytest.fail(f"Alertmanager did not start: {(folder / 'log').read_text()[-2000:]}", pytrace=False)
            time.sleep(0.05)
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(10)
