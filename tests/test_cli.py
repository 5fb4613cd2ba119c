"""The command line as people and scripts meet it: in a process of its own where that matters, else by `main`."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from anomaly import __version__
from anomaly.cli import main
from anomaly.config.check import RECEIVERS
from anomaly.logs import KeyValue

EXAMPLE = Path(__file__).parents[1] / "deploy" / "anomaly.yaml"


@pytest.fixture
def example() -> str:
    """The shipped example, as it stands."""
    return str(EXAMPLE)


def test_help_names_every_command_and_the_exit_codes():
    done = subprocess.run([sys.executable, "-m", "anomaly", "--help"], capture_output=True, text=True, check=True)
    for command in ("run", "check", "replay", "demo", "compile"):
        assert f"    {command} " in done.stdout
    assert "3 the data is not there" in done.stdout


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"anomaly {__version__}\n"


def test_check_says_what_the_configuration_would_do(example: str, capsys: pytest.CaptureFixture[str]):
    assert main(["check", example]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{example} is right. It would\n")
    assert "read otlp_metrics (otlp_proto, at most 10 s late) from kafka:9092\n" in said
    assert "send to log: stdout, warning and above\n" in said
    assert "model specs: ignore, " in said


def test_alerts_that_nobody_is_named_for_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "anomaly.yaml"
    path.write_text("otlp: {listen: 127.0.0.1:4318}\n")
    assert main(["check", str(path)]) == 0
    said = capsys.readouterr().out
    assert "receive OTLP at http://127.0.0.1:4318/v1/metrics\n" in said
    assert "send to stdout: stdout, warning and above\n" in said


def test_check_loads_neither_kernels_nor_brokers(example: str):
    """It answers at once, also where a container has no compiler cache yet."""
    script = "import sys; from anomaly.cli import main; main(['check', sys.argv[1]]); print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script, example], capture_output=True, text=True, check=True)
    assert "is right" in done.stdout
    assert not {"numba", "faust", "aiokafka", "river"} & set(done.stdout.split())


@pytest.mark.parametrize("command", [["check"], ["run", "--config"], ["replay", "none.csv", "--config"]])
def test_a_wrong_configuration_is_exit_code_2_and_one_line(command: list[str], capsys: pytest.CaptureFixture[str]):
    path = Path(__file__).parent / "config" / "bad" / "out_of_range.yaml"
    assert main([*command, str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.err == f"{path}: limits.series: 0 is out of range; it must be at least 1\n"
    assert captured.out == ""


def test_options_and_environment_go_over_the_file(
    example: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("ANOMALY_KAFKA__BOOTSTRAP", "a:1,b:2")
    assert main(["check", example, "--set", "health.listen=0.0.0.0:80", "--set", "receivers.0.at_least=info"]) == 0
    said = capsys.readouterr().out
    assert "from a:1, b:2\n" in said
    assert "serve http://0.0.0.0:80/metrics" in said
    assert "log: stdout, info and above" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "required: COMMAND"),
        (["fly"], "invalid choice: 'fly'"),
        (["run", "--stages", "decode,detct"], "detct: no such stage; known: decode, detect"),
        (["explain", "x.csv"], "required: --at"),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


def test_input_beside_kafka_is_refused(example: str, capsys: pytest.CaptureFixture[str]):
    assert main(["run", "--config", example, "--input", "points.csv"]) == 2
    assert "the configuration names brokers" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["run", "--input"], ["replay"]])
def test_data_that_is_not_there_is_exit_code_3_and_one_line(command: list[str]):
    done = subprocess.run([sys.executable, "-m", "anomaly", *command, "nowhere.csv"], capture_output=True, text=True)
    assert done.returncode == 3
    assert done.stderr == "anomaly: nowhere.csv: no such file\n"


def test_stages_without_kafka_are_refused(capsys: pytest.CaptureFixture[str]):
    assert main(["run", "--stages", "decode"]) == 2
    assert "the configuration names none" in capsys.readouterr().err


@pytest.mark.parametrize("kind", RECEIVERS)
def test_check_knows_every_kind_of_receiver(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "key").write_text("key")
    needs = {
        "pagerduty": "routing_key_file: key",
        "alertmanager": "urls: ['http://am:9093']",
        "webhook": "url: 'http://hook/'",
        "stdout": "",
        "file": "path: alerts.jsonl",
    }
    path = tmp_path / "anomaly.yaml"
    path.write_text(f"receivers:\n  - {{name: mine, {kind}: {{{needs[kind]}}}}}\n")
    assert main(["check", str(path)]) == 0
    assert f"send to mine: {kind}, warning and above\n" in capsys.readouterr().out


def record(message: str, *args: object, **extra: object) -> logging.LogRecord:
    """A record as a logger makes it, at a known time."""
    made = logging.getLogger("anomaly.host.kafka").makeRecord(
        "anomaly.host.kafka", logging.WARNING, __file__, 1, message, args, None, extra=extra
    )
    made.created = 1_700_000_000.25
    return made


def test_a_log_line_is_keys_and_values_on_one_line():
    line = KeyValue().format(record("waiting for %s", "kafka:9092", topic="otlp", tries=3, why='it said "no"\nand left'))
    assert line == (
        "time=2023-11-14T22:13:20.250Z level=warning logger=anomaly.host.kafka "
        r'msg="waiting for kafka:9092" topic=otlp tries=3 why="it said \"no\"\nand left"'
    )


def test_an_exception_stays_on_the_line():
    try:
        raise ValueError("broken")
    except ValueError:
        made = record("oops")
        made.exc_info = sys.exc_info()
    line = KeyValue().format(made)
    assert "\n" not in line
    assert "ValueError: broken" in line


def test_no_password_of_a_url_is_logged():
    assert "secret" not in KeyValue().format(record("sending to https://me:secret@hooks.example/x", to="http://a:secret@b"))


def test_a_demo_without_the_sdk_says_what_to_install(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    for name in ("story", "crew", "shop", "load", "screen"):
        monkeypatch.delitem(sys.modules, f"anomaly.demo.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.metrics", None)
    assert main(["demo"]) == 1
    assert "anomaly[demo]" in capsys.readouterr().err
