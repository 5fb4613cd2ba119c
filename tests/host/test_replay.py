"""Replay: history in, the same alerts out each time, whatever the files are called and however they are cut."""

import gzip
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from anomaly.config.load import load_specs
from anomaly.config.mistake import ConfigError
from anomaly.config.models import Match, ModelSpec
from anomaly.config.settings import Settings
from anomaly.decode.catalog import Catalog
from anomaly.decode.identity import Identity
from anomaly.host import replay as module
from anomaly.host.files import NoData, batches, encoding_of
from anomaly.host.replay import in_time_order, progress, read_plain, replay, run

START = datetime(2024, 3, 1, tzinfo=UTC)
PLAIN = (ModelSpec(name="default", match=(Match(),)),)


def write(folder: Path, name: str, values: Sequence[float], step: int = 60, after: int = 0) -> str:
    """A table of a value every `step` seconds, the first one `after` seconds after START."""
    rows = [f"{START + timedelta(seconds=after + i * step):%Y-%m-%d %H:%M:%S},{v}" for i, v in enumerate(values)]
    path = folder / f"{name}.csv"
    path.write_text("\n".join(["timestamp,value", *rows, ""]))
    return str(path)


def noise(n: int, seed: int) -> list[float]:
    return [round(float(v), 3) for v in np.random.default_rng(seed).normal(100.0, 2.0, n)]


@pytest.fixture
def fleet(tmp_path: Path) -> list[str]:
    """Two days of three series at a point a minute; `broken` jumps for an hour, `worse` does so at the very end."""
    broken, worse = noise(2880, 1), noise(2880, 2)
    broken[2000:2060] = [v + 80.0 for v in broken[2000:2060]]
    worse[2850:] = [v + 80.0 for v in worse[2850:]]
    series = {"broken": broken, "worse": worse, "calm": noise(2880, 3)}
    return [write(tmp_path, name, values) for name, values in series.items()]


def test_the_jumps_are_alerted_the_calm_series_is_not_and_what_lasts_is_still_open(
    fleet: list[str], capsys: pytest.CaptureFixture[str]
):
    assert replay(fleet, Settings(), PLAIN) == 0
    shown = capsys.readouterr().out
    table = [line for line in shown.splitlines() if line.startswith("2024-")]
    assert [line.split()[3] for line in table] == ["broken", "worse"]
    assert "still open" in table[1]
    assert "still open" not in table[0]
    assert "2 incidents in 8,640 points (2024-03-01 00:00 to 2024-03-02 23:59 UTC); 1 still open." in shown


def test_the_same_files_give_the_same_bytes(fleet: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    outputs = []
    for name in ("one.html", "two.html"):
        assert replay(fleet, Settings(), PLAIN, json=True, report=str(tmp_path / name)) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def test_json_is_a_line_for_each_alert_and_then_the_sum(fleet: list[str], capsys: pytest.CaptureFixture[str]):
    assert replay(fleet, Settings(), PLAIN, json=True) == 0
    *alerts, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(a["event"], a["group"]) for a in alerts] == [("trigger", "broken"), ("resolve", "broken"), ("trigger", "worse")]
    summary = last["summary"]
    assert (summary["points"], summary["incidents"], summary["still_open"]) == (8640, 2, 1)
    assert summary["alerts"] == {"trigger": 2, "update": 0, "resolve": 1}


def test_the_size_of_the_blocks_changes_nothing(fleet: list[str], monkeypatch: pytest.MonkeyPatch):
    whole = run(fleet, Settings(), PLAIN).alerts
    monkeypatch.setattr(module, "in_time_order", lambda points, catalog: in_time_order(points, catalog, 777))
    assert run(fleet, Settings(), PLAIN).alerts == whole


def test_files_are_merged_by_event_time_and_each_series_is_announced_once_with_its_first_point(tmp_path: Path):
    files = [write(tmp_path, "late", range(100), after=1800), write(tmp_path, "early", range(100))]
    settings = Settings()
    catalog = Catalog(Identity(settings.identity))
    with progress() as bar:
        blocks = list(in_time_order(read_plain(files, catalog, bar), catalog, 25))
    times = np.concatenate([block.points.time for block in blocks])
    assert len(times) == 200
    assert (np.diff(times) >= 0).all()
    announced = [(i, series.group) for i, block in enumerate(blocks) for series in block.series]
    assert announced == [(0, "early"), (1, "late")]
    assert [block.heard for block in blocks] == [int(block.points.time.max()) for block in blocks]


def test_labels_say_what_was_found(fleet: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    at = START + timedelta(minutes=1990)
    windows = {
        "broken.csv": [[f"{at:%F %T}", f"{at + timedelta(hours=1):%F %T}"]],
        "calm.csv": [[f"{at:%F %T}", f"{at:%F %T}"]],
    }
    labels = tmp_path / "labels.json"
    labels.write_text(json.dumps(windows))
    assert replay(fleet, Settings(), PLAIN, labels=str(labels)) == 0
    shown = capsys.readouterr().out
    assert "broken: the window from 2024-03-02 09:10 was found after 1" in shown
    assert "calm: the window from 2024-03-02 09:10 was missed" in shown
    assert "1 of 2 labelled windows found, 1 incident outside of them" in shown


def request(time: int, value: float) -> dict[str, object]:
    """An OTLP request of one gauge point, `time` in seconds."""
    point = {"timeUnixNano": str(time * 10**9), "asDouble": value}
    metric = {"name": "queue.length", "gauge": {"dataPoints": [point]}}
    service = {"key": "service.name", "value": {"stringValue": "worker"}}
    return {"resourceMetrics": [{"resource": {"attributes": [service]}, "scopeMetrics": [{"metrics": [metric]}]}]}


def test_packed_json_lines_are_replayed_and_a_broken_line_is_set_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    values, begin = noise(1500, 4), int(START.timestamp())
    values[1200:] = [v + 80.0 for v in values[1200:]]
    lines = [json.dumps(request(begin + 10 * i, v)) for i, v in enumerate(values)]
    path = tmp_path / "metrics.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join([*lines[:700], "{broken", *lines[700:]]).encode()))
    assert replay([str(path)], Settings(), load_specs(), json=True) == 0
    *alerts, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(a["event"], a["group"]) for a in alerts] == [("trigger", "worker")]
    assert (last["summary"]["points"], last["summary"]["dead_letters"]) == (1500, 1)


def test_an_absent_file_is_one_line_and_exit_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert replay([str(tmp_path / "none.csv")], Settings(), PLAIN) == 3
    assert capsys.readouterr().err.splitlines() == [f"anomaly: {tmp_path}/none.csv: no such file"]


def test_a_table_that_cannot_be_read_is_one_line_that_names_it_and_exit_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "odd.csv"
    path.write_text("timestamp,value\nyesterday,1\n")
    assert replay([str(path)], Settings(), PLAIN) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert str(path) in said[0]


def test_two_files_of_one_name_are_refused_as_they_would_be_one_group(tmp_path: Path):
    (tmp_path / "other").mkdir()
    files = [write(tmp_path, "web", [1.0]), write(tmp_path / "other", "web", [1.0])]
    with pytest.raises(NoData, match="web"):
        run(files, Settings(), PLAIN)


def test_an_encoding_nobody_knows_is_refused_with_those_that_are_known(tmp_path: Path):
    path = tmp_path / "metrics.txt"
    path.write_text("")
    with pytest.raises(ConfigError, match="otlp_json"):
        run([str(path)], Settings(), PLAIN, "morse")


@pytest.mark.parametrize(
    ("name", "encoding"), [("a.csv", "csv"), ("a.jsonl", "otlp_json"), ("b.json.gz", "otlp_json"), ("c.lp", "influx")]
)
def test_a_name_tells_its_encoding(name: str, encoding: str):
    assert encoding_of(name, None) == encoding
    assert encoding_of(name, "telegraf_json") == "telegraf_json"


def test_a_name_that_tells_nothing_asks_for_the_encoding():
    with pytest.raises(ConfigError, match="--encoding"):
        encoding_of("metrics.txt", None)


def test_lines_are_records_of_text_and_a_file_is_one_of_bytes(tmp_path: Path):
    path = tmp_path / "x"
    path.write_bytes(b"one\r\ntwo\n\nlast")
    assert list(batches(str(path), "influx")) == [[b"one", b"two", b"", b"last"]]
    assert list(batches(str(path), "otlp_proto")) == [[b"one\r\ntwo\n\nlast"]]


def test_every_part_of_a_table_carries_the_header(tmp_path: Path):
    path = tmp_path / "x.csv"
    path.write_text("timestamp,value\n" + "".join(f"{i},1\n" for i in range(3000)))
    parts = [part.split(b"\n") for batch in batches(str(path), "csv") for part in batch]
    assert len(parts) > 1
    assert {part[0] for part in parts} == {b"timestamp,value"}
    assert [int(line.split(b",")[0]) for part in parts for line in part[1:]] == list(range(3000))
