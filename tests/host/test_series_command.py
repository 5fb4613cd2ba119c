"""`anomaly series` on what the embedded host kept."""

import json
from pathlib import Path

import numpy as np
import pytest

from anomaly.cli import main

BEGIN = 1_700_000_000


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration that keeps state, after a file was read under it."""
    values = np.random.default_rng(3).normal(50.0, 2.0, 300).round(2)
    table = tmp_path / "queue.csv"
    table.write_text("\n".join(["timestamp,value", *(f"{(BEGIN + 60 * i) * 1000},{v}" for i, v in enumerate(values))]))
    made = tmp_path / "anomaly.yaml"
    made.write_text(
        f"checkpoint: {{directory: {tmp_path / 'state'}}}\nhealth: {{listen: '127.0.0.1:0'}}\n"
        f"blind: {{lag: 36500d}}\nreceivers: [{{name: f, file: {{path: {tmp_path / 'alerts.jsonl'}}}}}]\n"
    )
    assert main(["run", "--config", str(made), "--input", str(table), "--log", "error"]) == 0
    return made


def test_a_series_is_listed_with_its_newest_value_and_what_it_learned(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it was sent: 300 points, a minute apart."""
    capsys.readouterr()
    assert main(["series", "--config", str(config), "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    assert (found["series"]["group"], found["last"], found["is_warm"]) == ("queue", (BEGIN + 60 * 299) * 1000, True)
    assert found["learned"] == pytest.approx(60 * 299, rel=0.02)


def test_nothing_that_fits_is_said_by_the_exit_code(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 3: the data is not there."""
    assert main(["series", "--config", str(config), "--match", "no.such.*"]) == 3
    assert "0 series" in capsys.readouterr().out


def test_without_anything_kept_there_is_nothing_to_list(capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong usage, with what is missing."""
    assert main(["series"]) == 2
    assert "checkpoint.directory" in capsys.readouterr().err
