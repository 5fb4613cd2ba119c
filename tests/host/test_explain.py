"""`anomaly explain`: what a person on call asks of a score."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.host.shop import telemetry
from tests.host.test_replay import START, noise, write

from anomaly.cli import main
from anomaly.detect.explain import Loss, RatioParts
from anomaly.host.explain_words import made_of_loss, made_of_ratio


@pytest.fixture
def broken(tmp_path: Path) -> str:
    """Two days at a point a minute, a jump for an hour after 2000 of them."""
    values = noise(2880, 1)
    values[2000:2060] = [v + 80.0 for v in values[2000:2060]]
    return write(tmp_path, "broken", values)


def asked(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    """Exit code and explanations."""
    code = main(["explain", *arguments, "--json"])
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_jump_is_explained_by_what_was_expected_and_what_said_most(broken: str, capsys: pytest.CaptureFixture[str]):
    code, (told,) = asked(capsys, broken, "--series", "broken", "--at", "2024-03-02T09:20")
    assert code == 0
    low, high = told["expected"]
    assert 90.0 < low < 100.0 < high < 110.0
    assert (told["time"], told["value"] > 150.0, told["score"] > 4.0) == ("2024-03-02T09:20:00.000Z", True, True)
    parts = {p["what"]: p["score"] for p in told["contributed"]}
    assert max(parts[name] for name in ("season", "sudden")) > 4.0


def test_why_a_value_is_nothing_is_said_too(broken: str, capsys: pytest.CaptureFixture[str]):
    """The third value: not known yet; a usual one: too low a score."""
    _, (young,) = asked(capsys, broken, "--at", f"{START:%FT00:02}")
    assert young["score"] is None
    assert young["reduced"][0]["what"] == "warm-up"
    assert young["follows"] == ["nothing is said of it"]
    _, (usual,) = asked(capsys, broken, "--at", "2024-03-02T08:00")
    assert usual["follows"] == ["a score below 2.5 begins no episode", "there is no anomaly"]


def test_a_deviation_too_small_for_its_spec_says_which_key_holds_it_back(
    broken: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    models, config = tmp_path / "own.yaml", tmp_path / "anomaly.yaml"
    models.write_text("specs: [{name: mine, match: [{metric: [broken]}], min_deviation: 500}]\n")
    config.write_text("models: [own.yaml]\n")
    _, (told,) = asked(capsys, broken, "--config", str(config), "--at", "2024-03-02T09:20")
    assert told["spec"] == "mine"
    assert "min_deviation 500" in told["follows"][0]
    assert told["follows"][1] == "there is no anomaly"


def test_a_person_reads_it_in_a_few_lines(broken: str, capsys: pytest.CaptureFixture[str]):
    assert main(["explain", broken, "--at", "2024-03-02T09:21"]) == 0
    shown = capsys.readouterr().out
    for part in ("broken: broken", "value ", "usual ", "score ", "made of", "season ", "so\n", "an anomaly"):
        assert part in shown
    assert max(map(len, shown.splitlines())) < 180
    assert "nan" not in shown


def test_failing_requests_and_slow_ones_of_a_service_are_explained_each_in_its_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """k of n by the cell and the last minutes; a quantile by its band; traffic, which is as ever, by why it is nothing."""
    path, begin = tmp_path / "shop.pb", 1_767_225_600
    path.write_bytes(b"".join(body for _, _, body in telemetry(begin, 400, 330, 375)))  # one request of all of them
    asks = "--encoding", "otlp_proto", "--series", "shop/payment", "--at", "2026-01-01T00:05:50"
    _, told = asked(capsys, str(path), *asks)
    by = {t["quantity"]: t for t in told}
    assert {p["what"] for p in by["error ratio"]["contributed"]} >= {"expected", "cell", "five minutes", "bad level"}
    assert by["error ratio"]["score"] > 10.0
    assert "held" in {p["what"] for p in by["p95"]["reduced"]}
    assert by["p95"]["follows"][0].startswith("an anomaly lasts, since 2026-01-01 00:05:")
    assert by["rate"]["follows"][-1] == "there is no anomaly"


def test_what_people_were_told_of_it_is_said_and_that_the_budget_held_it_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Of two series that jump on a day, where one page a month may be statistics' fault."""
    models, config = tmp_path / "own.yaml", tmp_path / "anomaly.yaml"
    models.write_text("specs: [{name: mine, match: [{metric: [early, late]}], pages: true}]\n")
    config.write_text("models: [own.yaml]\nalert_budget: 1 per month\n")
    files = []
    for name, begin in (("early", 2000), ("late", 2300)):
        values = noise(2880, begin)
        values[begin : begin + 60] = [v + 80.0 for v in values[begin : begin + 60]]
        files.append(write(tmp_path, name, values))
    asks = *files, "--config", str(config)
    _, (first,) = asked(capsys, *asks, "--series", "early", "--at", "2024-03-02T09:30")
    _, (second,) = asked(capsys, *asks, "--series", "late", "--at", "2024-03-02T14:30")

    assert "budget" not in {p["what"] for p in first["reduced"]}
    assert any(": critical, because service-level" in line for line in first["follows"])
    assert "budget" in {p["what"] for p in second["reduced"]}
    told = [line for line in second["follows"] if line.startswith("its incident was told at 2024-03-02 1")]
    assert ": warning, because " in told[0]
    assert ": over, because " in told[-1]


def test_of_traffic_that_stays_away_is_said_which_part_decides():
    """What always comes at this time of day, where that is more than the band says; as a judge takes the greater one."""
    loss = Loss(lost=2.0, gone=6.78, low=0.002, high=0.078, cell=600.0)
    lost, gone = made_of_loss(loss, 6.78, "/s")
    assert (lost.what, lost.score, gone.what, gone.score) == ("loss", 2.0, "gone", 6.78)
    assert "does not decide" in lost.text
    assert gone.text == "0.002–0.078/s always come at this time of day, by the season alone; this decides"


def test_the_errors_of_an_hour_are_not_said_to_be_those_of_a_cell():
    parts = RatioParts(4.0, 8.5, 0.0004, 2000.0, 10.2, 4.0, 8.5, 10.2, 1.0, 0.0)
    told = {p.what: p.text for p in made_of_ratio(parts)}
    assert set(told) == {"expected", "hour or two"}
    assert told["hour or two"] == "4.0 of 8.5 events, older ones counting less: five minutes bring too few"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--series", "other"], "no judged series fits other"),
        (["--at", "2025-01-01"], "has no value at 2025-01-01 00:00:00 or later; the last is of 2024-03-02 23:59:00"),
    ],
)
def test_what_is_not_there_is_one_line_and_exit_code_3(
    broken: str, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
):
    assert main(["explain", broken, "--at", "2024-03-02", *arguments]) == 3
    assert said in capsys.readouterr().err


def test_of_a_series_that_is_ignored_that_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The shipped specs take `machine_*` for what does not change, and there is nothing to explain."""
    path = write(tmp_path, "machine_cores", noise(100, 1))
    assert main(["explain", path, "--at", "2024-03-01"]) == 3
    assert "machine_cores: not judged, a spec ignores it" in capsys.readouterr().err
    assert main(["replay", path]) == 0
    assert "100 points are of series that the specs ignore." in capsys.readouterr().out
