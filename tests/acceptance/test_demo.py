"""The demo, once, for real: what it promises on its one line is what the README promises."""

import json
import subprocess
import sys
from contextlib import nullcontext

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

pytest.importorskip("opentelemetry.sdk.metrics", reason="the demo's services need the extra `demo`")

from anomaly.demo.crew import Refused, say


@pytest.mark.parametrize(
    ("status", "body", "taken"),
    [
        (200, {}, True),
        (200, {"partialSuccess": {}}, True),
        (200, {"partialSuccess": {"rejectedChanges": "1"}}, False),
        (400, {"message": "no JSON"}, False),
        (500, {}, False),
    ],
)
async def test_the_story_does_not_go_on_where_what_it_says_is_not_taken(status: int, body: dict[str, object], taken: bool):
    async def answer(request: web.Request) -> web.Response:
        return web.json_response(body, status=status)

    application = web.Application()
    application.router.add_post("/fault", answer)
    async with TestServer(application) as server:
        url = str(server.make_url("/fault"))
        with nullcontext() if taken else pytest.raises(Refused, match=rf"/fault did not take .*slower.*: status {status}"):
            await say(url, {"slower": 2.0})
    with pytest.raises(Refused, match="Cannot connect"):
        await say(url, {"slower": 2.0})


@pytest.mark.timeout(600)
def test_a_slow_dependency_and_a_version_that_throws_are_one_alert_each_that_names_cause_and_victims_and_one_resolve():
    command = (sys.executable, "-m", "anomaly", "demo", "--headless", "--json")
    run = subprocess.run(command, capture_output=True, text=True, timeout=580, check=False)
    assert len(run.stdout.splitlines()) == 1, run.stdout + run.stderr
    said = json.loads(run.stdout)
    slow, throws = said["faults"]
    assert (slow["named"], slow["wrong"], slow["resolved"]) == ("stock", None, True), run.stderr
    assert {"catalog", "frontend"} <= set(slow["victims"])
    assert (throws["named"], throws["wrong"], throws["resolved"]) == ("cart", None, True), run.stderr
    assert "payment" in throws["victims"]
    assert "version 2.0.0" in throws["said"], "nobody was told what was deployed"
    assert said["others"] == 0, run.stderr
    assert said["set_aside"] == 0
    assert said["duration_s"] < 480.0
    assert run.returncode == 0
