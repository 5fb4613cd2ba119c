"""`anomaly probe` and `anomaly run` as processes, with a topic of a real broker between them, and a site that fails."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from time import time
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

EVERY = 6  # s: a failure has to last for 10, which the second one does

CONFIG = """\
kafka:
  bootstrap: ["{bootstrap}"]
  application: a-{topic}
  topics: {{prefix: a-{topic}, partitions: 2}}
sources:
  - {{topic: {topic}, encoding: otlp_proto}}
shadow: on
health: {{listen: "127.0.0.1:0"}}
receivers:
  - {{name: file, file: {{path: "{folder}/alerts.jsonl"}}}}
probes:
  topic: {topic}
  region: eu
  environment: prod
  checks:
    - {{name: front, service: shop, every: {every}s, timeout: 2s, http: {{url: "{url}"}}}}
"""


class Site:
    """A web site that answers 200 until it is ill, then 503; when it was asked, s since the epoch, by the answer."""

    def __init__(self) -> None:
        self.status, self.asked = 200, dict[int, list[float]]()

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.setdefault(self.status, []).append(time())
        return web.Response(status=self.status)

    def application(self) -> web.Application:
        found = web.Application()
        found.router.add_get("/", self.answer)
        return found


@contextmanager
def running(folder: Path, *commands: tuple[str, ...]) -> Iterator[Callable[[], str]]:
    """Commands of ours, until the block is left; called, it gives what they said, and fails if one has ended."""
    log = folder / "log"
    with log.open("ab") as out:
        started = [subprocess.Popen([sys.executable, "-m", "anomaly", *c], stdout=out, stderr=out) for c in commands]

    def said() -> str:
        assert all(p.poll() is None for p in started), log.read_text()[-4000:]
        return log.read_text()

    try:
        yield said
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(60)


async def until(holds: Callable[[], Any], said: Callable[[], str], what: str) -> None:
    """Wait until something is so."""
    try:
        async with asyncio.timeout(120):
            while not holds():
                said()
                await asyncio.sleep(0.2)
    except TimeoutError:
        pytest.fail(f"not within two minutes: {what}\n{said()[-4000:]}")


async def test_the_second_failure_of_a_check_is_told_by_way_of_kafka(
    bootstrap: str, topic: Callable[..., Awaitable[str]], tmp_path: Path
):
    """One critical alert, also in shadow, and its time is that of the second result that was bad."""
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    site, results, alerts = Site(), await topic(partitions=2, name="probes"), tmp_path / "alerts.jsonl"
    async with TestServer(site.application()) as server:
        config = tmp_path / "anomaly.yaml"
        url = str(server.make_url("/"))
        config.write_text(CONFIG.format(bootstrap=bootstrap, topic=results, folder=tmp_path, every=EVERY, url=url))
        with running(tmp_path, ("run", "--config", str(config)), ("probe", str(config))) as said:
            await until(lambda: len(site.asked.get(200, [])) >= 2, said, "two good answers")
            site.status = 503
            await until(lambda: alerts.exists() and alerts.read_text().endswith("\n"), said, "an alert")
    told = [json.loads(line) for line in alerts.read_text().splitlines()]
    assert [(a["event"], a["severity"], a["environment"], a["group"]) for a in told] == [
        ("trigger", "critical", "prod", "shop")
    ]  # fmt: skip
    second = site.asked[503][1]
    assert second - 2.0 <= datetime.fromisoformat(told[0]["time"]).timestamp() <= second
