"""The demo, once, for real: what it promises on its one line is what the README promises."""

import json
import subprocess
import sys

import pytest

pytest.importorskip("opentelemetry.sdk.metrics", reason="the demo's services need the extra `demo`")


@pytest.mark.timeout(480)
def test_a_slow_dependency_two_calls_down_is_one_alert_that_names_it_and_its_victims_and_one_resolve():
    command = (sys.executable, "-m", "anomaly", "demo", "--headless", "--json")
    run = subprocess.run(command, capture_output=True, text=True, timeout=460, check=False)
    assert len(run.stdout.splitlines()) == 1, run.stdout + run.stderr
    said = json.loads(run.stdout)
    (slow,) = said["faults"]
    assert (slow["named"], slow["wrong"], slow["resolved"]) == ("stock", None, True), run.stderr
    assert {"catalog", "frontend"} <= set(slow["victims"])
    assert said["others"] == 0, run.stderr
    assert said["set_aside"] == 0
    assert said["duration_s"] < 330.0
    assert run.returncode == 0
