"""`anomaly budget` on what the embedded host kept."""

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from anomaly.cli import main
from anomaly.correlate.correlator import Memory
from anomaly.host.embedded import Rest

BEGIN = 1_700_000_000
SPEC = "specs: [{name: queue, pages: true, match: [{metric: [queue]}]}]"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration that keeps state, after a file with a fault was read under it."""
    values = np.random.default_rng(3).normal(50.0, 2.0, 600).round(2)
    values[500:520] += 500.0
    table = tmp_path / "queue.csv"
    table.write_text("\n".join(["timestamp,value", *(f"{(BEGIN + 60 * i) * 1000},{v}" for i, v in enumerate(values))]))
    (tmp_path / "spec.yaml").write_text(SPEC)
    made = tmp_path / "anomaly.yaml"
    made.write_text(
        f"checkpoint: {{directory: {tmp_path / 'state'}}}\nhealth: {{listen: '127.0.0.1:0'}}\nmodels: [spec.yaml]\n"
        f"alert_budget: {{default: 3 per week}}\n"
        f"blind: {{lag: 36500d}}\nreceivers: [{{name: f, file: {{path: {tmp_path / 'alerts.jsonl'}}}}}]\n"
    )
    assert main(["run", "--config", str(made), "--input", str(table), "--log", "error"]) == 0
    return made


def test_what_was_spent_is_shown_and_what_others_would_have_paged(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One page of the 2 that a start has (half of 3, rounded up to a page)."""
    capsys.readouterr()
    assert main(["budget", "--config", str(config), "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    assert (found["environment"], found["name"], found["per_week"], found["paged"]) == ("default", "default", 3.0, 1)
    assert found["left"] == pytest.approx(0.5, abs=0.1)
    assert [other[0] for other in found["others"]] == [1.0, 10.0]


def test_a_person_reads_a_line_a_budget_and_one_for_each_other(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And what the columns mean."""
    capsys.readouterr()
    assert main(["budget", "--config", str(config)]) == 0
    head, own, lower, higher, meaning, _ = capsys.readouterr().out.splitlines()
    assert head.split()[:4] == ["environment", "budget", "a", "week"]
    assert own.split()[:3] == ["default", "default", "3"]
    assert "at 1 per week" in lower
    assert "at 10 per week" in higher
    assert "last 7 days" in meaning


def test_without_anything_kept_there_is_nothing_to_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong usage with what is missing; or exit code 3: the data is not there."""
    assert main(["budget"]) == 2
    assert "checkpoint.directory" in capsys.readouterr().err
    made = tmp_path / "anomaly.yaml"
    made.write_text(f"checkpoint: {{directory: {tmp_path / 'state'}}}\n")
    assert main(["budget", "--config", str(made)]) == 3


def test_what_was_kept_before_there_were_budgets_is_read() -> None:
    """Three parts then."""
    old = msgspec.msgpack.encode((b"detector", Memory([], [], {}, 0), []))
    read = msgspec.msgpack.decode(old, type=Rest)
    assert (read.detector, read.budgets) == (b"detector", b"")
