"""Replay: history in, the same alerts out each time, whatever the files are called and however they are cut."""

import gzip
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from anomaly.cli import main
from anomaly.config.load import load_specs
from anomaly.config.mistake import ConfigError
from anomaly.config.models import Match, ModelSpec
from anomaly.config.settings import Settings
from anomaly.decode.catalog import Catalog
from anomaly.decode.identity import Identity
from anomaly.dispatch.alert import Alert
from anomaly.engine import Engine
from anomaly.host import past as module
from anomaly.host import replay as command
from anomaly.host.files import NoData, batches, encoding_of
from anomaly.host.labelled import ms
from anomaly.host.past import Files, Stretch, in_time_order, progress, read_plain
from anomaly.host.replay import Config, Output, run
from anomaly.host.tracks import Seen, Tracks

START = datetime(2024, 3, 1, tzinfo=UTC)
PLAIN = (ModelSpec(name="default", match=(Match(),)),)


def write(folder: Path, name: str, values: Sequence[float], step: int = 60, after: int = 0) -> str:
    """A table of a value every `step` seconds, the first one `after` seconds after START."""
    rows = [f"{START + timedelta(seconds=after + i * step):%Y-%m-%d %H:%M:%S},{v}" for i, v in enumerate(values)]
    path = folder / f"{name}.csv"
    path.write_text("\n".join(["timestamp,value", *rows, ""]))
    return str(path)


def replay(
    files: Sequence[str], settings: Settings, specs: Sequence[ModelSpec], json: bool = False, report: str | None = None,
    labels: str | None = None,
) -> int:  # fmt: skip
    """`anomaly replay` on files."""
    return command.replay(Files(files), Config(settings, specs), Output(json, report, labels))


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
    monkeypatch.setattr(module, "in_time_order", lambda points, catalog, idle: in_time_order(points, catalog, 777, idle))
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


def at(minutes: int) -> int:
    """Minutes after START as ms since the epoch."""
    return round((START + timedelta(minutes=minutes)).timestamp() * 1000)


def test_a_stretch_tells_what_was_alerted_within_it_and_learns_from_what_was_before(fleet: list[str]):
    whole, told = run(fleet, Settings(), PLAIN), {}
    for name, stretch in (
        ("early", Stretch(end=at(1900))),
        ("late", Stretch(at(2500))),
        ("cold", Stretch(at(1995), None, 0)),
    ):
        told[name] = command.walk(Files(fleet, None, stretch), Engine(Settings(), PLAIN))
    assert [case.first for case in told["late"].cases.values()] == [whole.alerts[-1]]
    assert list(told["early"].cases) == []
    assert told["early"].points == 3 * 1900
    assert told["cold"].points == 3 * (2880 - 1995)


def test_an_incident_that_was_open_before_the_stretch_is_counted_but_not_told(fleet: list[str]):
    told = command.walk(Files(fleet, None, Stretch(at(2030))), Engine(Settings(), PLAIN))
    assert [case.first.group for case in told.cases.values()] == ["worse"]
    assert [case.first.group for case in told.before.values()] == ["broken"]
    assert "1 began before 2024-03-02 09:50." in told.sentence()


def test_cutting_the_history_short_changes_no_earlier_alert(fleet: list[str]):
    """Nothing looks ahead: what is alerted by a time is the same, to the byte, whatever comes after it."""
    whole = run(fleet, Settings(), PLAIN).alerts
    for minutes in (1999, 2003, 2010, 2040, 2070, 2853, 2880):
        cut = command.walk(Files(fleet, None, Stretch(end=at(minutes))), Engine(Settings(), PLAIN)).alerts
        assert cut == whole[: len(cut)]
        assert len(cut) >= sum(module_time(alert) < at(minutes) - 120_000 for alert in whole)


def test_cutting_the_history_short_changes_no_earlier_score(fleet: list[str]):
    def scores(stretch: Stretch) -> dict[object, Seen]:
        tracks = Tracks(lambda subject: True)
        engine = Engine(Settings(), PLAIN)
        tracks.follow(engine.detector(0))
        command.walk(Files(fleet, None, stretch), engine)
        return tracks.all()  # type: ignore[return-value]

    whole, cut = scores(Stretch()), scores(Stretch(end=at(2020)))
    assert whole.keys() == cut.keys()
    for key, seen in cut.items():
        for ours, theirs in zip(seen, whole[key], strict=True):
            np.testing.assert_array_equal(ours, theirs[: ours.size])


def module_time(alert: Alert) -> int:
    """When it was told, ms."""
    return ms(alert.time)


def test_a_series_that_ends_while_others_go_on_ends_its_incident_within_two_days(tmp_path: Path):
    """Not when the last of the files ends: whoever reads the report would take it for a trouble of months."""
    ill = noise(2880, 1)
    ill[2800:] = [v + 80.0 for v in ill[2800:]]
    files = [write(tmp_path, "ill", ill), write(tmp_path, "long", noise(20_000, 2))]
    (case,) = run(files, Settings(), PLAIN).cases.values()
    assert case.lasted == "to the end of its data"
    assert ms(case.last.time) < at(2880 + 3 * 1440)


def test_against_another_configuration_the_difference_is_told(
    fleet: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    deaf = tmp_path / "deaf.yaml"
    deaf.write_text("threshold: {alert: 1000}\n")
    report = tmp_path / "report.html"
    assert main(["replay", *fleet, "--against", str(deaf), "--report", str(report)]) == 0
    shown = capsys.readouterr().out
    assert [line.split()[:5:4] for line in shown.splitlines() if line.startswith("added")] == [
        ["added", "broken"], ["added", "worse"],
    ]  # fmt: skip
    assert f"the built-in configuration against {deaf}: 2 added." in shown
    assert "2 added" in report.read_text()
    assert main(["replay", *fleet, "--config", str(deaf), "--against", "/dev/null", "--json", "--report", str(report)]) == 0
    *changes, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(c["change"], c["group"], c["now"]) for c in changes] == [
        ("removed", "broken", None),
        ("removed", "worse", None),
    ]
    assert last["summary"]["difference"]["removed"] == 2
    assert (last["summary"]["incidents"], last["summary"]["against"]["incidents"]) == (0, 2)
    assert "removed: 2024-03-02" in report.read_text()


def test_against_the_same_configuration_nothing_is_different(fleet: list[str], capsys: pytest.CaptureFixture[str]):
    assert main(["replay", *fleet, "--against", "/dev/null", "--json"]) == 0
    (last,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    difference = last["summary"]["difference"]
    assert difference.pop("same") == 2
    assert set(difference.values()) == {0}


def test_labels_give_false_a_week_and_precision_over_the_time_that_was_heard(
    fleet: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Two days, one incident within its window, one outside of any."""
    window = [f"{START + timedelta(minutes=1990):%F %T}", f"{START + timedelta(minutes=2060):%F %T}"]
    labels = tmp_path / "labels.json"
    labels.write_text(json.dumps({"broken": [window], "elsewhere/broken.csv": [window]}))
    assert replay(fleet, Settings(), PLAIN, json=True, labels=str(labels)) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])["summary"]
    assert (summary["windows"], summary["found"], summary["precision"]) == (1, 1, 0.5)
    assert summary["weeks"] == pytest.approx(2 / 7, abs=0.001)
    assert summary["false_per_week"] == pytest.approx(3.5)
    assert summary["median_delay_s"] == pytest.approx(600.0, abs=180.0)


def test_a_time_that_is_none_is_wrong_usage(fleet: list[str], capsys: pytest.CaptureFixture[str]):
    for option in (["--from", "yesterday"], ["--warm-up", "long"]):
        with pytest.raises(SystemExit) as stopped:
            main(["replay", *fleet, *option])
        assert stopped.value.code == 2
        assert option[1] in capsys.readouterr().err
