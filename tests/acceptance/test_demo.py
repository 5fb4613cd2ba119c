"""The demo, once, for real: what it promises on its one line is what the README promises."""

import json
import subprocess
import sys

import pytest

pytest.importorskip("opentelemetry.sdk.metrics", reason="the demo's services need the extra `demo`")


@pytest.mark.timeout(300)
def test_a_slow_and_failing_payment_is_one_alert_in_time_with_its_name_and_one_resolve():
    command = (sys.executable, "-m", "anomaly", "demo", "--headless", "--json")
    run = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert len(run.stdout.splitlines()) == 1, run.stdout + run.stderr
    said = json.loads(run.stdout)
    assert (said["alerted"], said["service"], said["resolved"], said["others"]) == (True, "payment", True, 0), run.stderr
    assert 0.0 < said["delay_s"] <= 15.0
    assert said["duration_s"] < 150.0
    assert said["set_aside"] == 0
    assert run.returncode == 0
