"""The demo, once, for real: what it promises on its one line is what the README promises."""

import json
import subprocess
import sys

import pytest

pytest.importorskip("opentelemetry.sdk.metrics", reason="the demo's services need the extra `demo`")


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
