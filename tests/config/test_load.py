"""Configuration: what is right is read, what is wrong stops the start with one line that names place, value and remedy.

Every file in `bad/` begins with what must be said about it (`# says: …`, without the file's name; HERE is the folder).
"""

import importlib
import pkgutil
from pathlib import Path

import pytest
import yaml

import anomaly.decode
from anomaly.config.check import ENCODINGS
from anomaly.config.load import load, load_specs
from anomaly.config.mistake import ConfigError
from anomaly.config.settings import Driver, IdentitySettings, Settings
from anomaly.decode import encodings

BAD = Path(__file__).parent / "bad"
SAYS = "# says: "


def wrong(path: Path | None = None, environ: dict[str, str] | None = None, *overrides: str) -> list[str]:
    """The lines that a configuration is refused with."""
    with pytest.raises(ConfigError) as caught:
        load(path, environ or {}, overrides)
    return str(caught.value).splitlines()


def written(tmp_path: Path, text: str) -> Path:
    """A configuration file."""
    path = tmp_path / "anomaly.yaml"
    path.write_text(text)
    return path


def expected(path: Path) -> list[str]:
    """What the file says must be said."""
    lines = [line for line in path.read_text().splitlines() if line.startswith(SAYS)]
    return [f"{path}: {line.removeprefix(SAYS).replace('HERE', str(BAD))}" for line in lines]


@pytest.mark.parametrize("path", sorted(BAD.glob("*.yaml")), ids=lambda p: p.stem)
def test_a_wrong_file_is_refused_with_place_value_and_remedy(path: Path):
    assert expected(path)
    assert wrong(path) == expected(path)


@pytest.mark.parametrize("path", sorted((BAD / "specs").glob("*.yaml")), ids=lambda p: p.stem)
def test_a_wrong_spec_file_is_refused_with_place_value_and_remedy(path: Path):
    assert expected(path)
    with pytest.raises(ConfigError) as caught:
        load_specs([path])
    assert str(caught.value).splitlines() == expected(path)


def test_every_mistake_of_a_file_is_reported_at_once(tmp_path: Path):
    path = written(tmp_path, "threshold: {alert: x}\nblind: {lag: 5, no_imput: 1s}\nlimits: {series: 0}\n")
    said = wrong(path)
    assert [line.split(": ")[1] for line in said] == ["limits.series", "threshold.alert", "blind.no_imput", "blind.lag"]


def test_a_file_that_is_not_there_is_one_line():
    assert wrong(Path("nowhere.yaml")) == ["nowhere.yaml: cannot be read: No such file or directory; name a readable file"]


def test_no_configuration_is_the_defaults():
    assert load(None, {}) == Settings()


def test_an_empty_file_is_the_defaults(tmp_path: Path):
    assert load(written(tmp_path, "# nothing yet\n"), {}) == Settings()


def test_the_command_line_goes_over_the_environment_over_the_file_over_the_defaults(tmp_path: Path):
    path = written(tmp_path, "blind: {no_input: 1m, lag: 1m, rejects: 0.1}\n")
    environ = {"ANOMALY_BLIND__LAG": "2m", "ANOMALY_BLIND__REJECTS": "0.2"}
    blind = load(path, environ, ["blind.rejects=0.3"]).blind
    assert (blind.no_input, blind.lag, blind.rejects) == (60.0, 120.0, 0.3)
    assert load(path, environ).correlation == Settings().correlation


def test_values_from_outside_are_read_as_their_key_wants(tmp_path: Path):
    """Lists by commas or as in YAML, numbers, words, truth values, whole sections, items of lists by number."""
    path = written(
        tmp_path, "kafka: {bootstrap: [a:1]}\nsources: [{topic: '1', encoding: csv}]\nreceivers: [{name: x, stdout: {}}]"
    )
    environ = {
        "ANOMALY_KAFKA__BOOTSTRAP": "a:1, b:2",
        "ANOMALY_KAFKA__APPLICATION": "7",
        "ANOMALY_KAFKA__TOPICS__CREATE": "false",
        "ANOMALY_KAFKA__DRIVER": "consumer",
        "ANOMALY_LIMITS__SERIES": "1000",
        "ANOMALY_LINKS__RUNBOOK": "https://runbooks.example/{group}",
    }
    settings = load(path, environ, ["receivers.0.stdout={json: true}", "sources=[{topic: t, encoding: otlp_json}]"])
    assert settings.kafka is not None
    assert settings.kafka.bootstrap == ["a:1", "b:2"]
    assert settings.kafka.application == "7"
    assert settings.kafka.topics.create is False
    assert settings.kafka.driver is Driver.CONSUMER
    assert settings.limits.series == 1000
    assert settings.links == {"runbook": "https://runbooks.example/{group}"}
    assert settings.receivers[0].stdout is not None
    assert settings.receivers[0].stdout.json is True
    assert settings.sources[0].topic == "t"


def test_a_mistake_from_outside_names_the_variable_or_the_option():
    environ = {"ANOMALY_BLIND__LAG": "30", "ANOMALY_KAKFA__BOOTSTRAP": "a:1"}
    assert wrong(None, environ, "limits.series=few", "health.listen=9464") == [
        "environment ANOMALY_KAKFA__BOOTSTRAP: kakfa: is no key that is known here; did you mean kafka?",
        '--set: limits.series: "few" is not a whole number; write a whole number',
        'environment ANOMALY_BLIND__LAG: blind.lag: "30" is no duration; write it with a unit: 250ms, 30s, 5m, 2h or 1d',
    ]
    assert wrong(None, {}, "health.listen=9464") == [
        '--set: health.listen: "9464" is no address; write host:port, as 127.0.0.1:9464'
    ]


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("blind.lag", "--set blind.lag: has no `=`; write --set key.path=value"),
        (
            "receivers.3.name=x",
            "--set: receivers.3.name: `3` leads nowhere: above it is a list of 1; number its items from 0",
        ),
        ("receivers.0.name.x=y", "--set: receivers.0.name.x: `x` leads nowhere: above it is no section"),
    ],
)
def test_an_option_that_leads_nowhere_is_refused(tmp_path: Path, option: str, said: str):
    path = written(tmp_path, "receivers: [{name: x, stdout: {}}]\n")
    assert wrong(path, {}, option) == [said]


def test_variables_that_kubernetes_sets_for_a_service_of_our_name_are_left_alone():
    environ = {"ANOMALY_PORT": "tcp://10.0.0.7:9464", "ANOMALY_SERVICE_HOST": "10.0.0.7", "ANOMALY_PORT_9464_TCP": "x"}
    assert load(None, environ) == Settings()


def test_a_flat_group_is_one_alternative_before_the_defaults(tmp_path: Path):
    path = written(tmp_path, "identity: {group: [team, service]}\n")
    assert load(path, {}).identity.group == (("team", "service"), *IdentitySettings().group)
    assert load(None, {"ANOMALY_IDENTITY__GROUP": "job"}).identity.group[:2] == (("job",), IdentitySettings().group[0])


def test_a_list_of_groups_replaces_the_defaults(tmp_path: Path):
    path = written(tmp_path, "identity: {group: [[team, service], [job]]}\n")
    assert load(path, {}).identity.group == (("team", "service"), ("job",))


def test_paths_are_relative_to_the_file_that_names_them(tmp_path: Path):
    (tmp_path / "key").write_text("0123456789abcdef0123456789abcdef\n")
    path = written(tmp_path, "receivers: [{name: oncall, pagerduty: {routing_key_file: key}}]\n")
    pagerduty = load(path, {}).receivers[0].pagerduty
    assert pagerduty is not None
    assert Path(pagerduty.routing_key_file) == tmp_path / "key"


def test_no_message_repeats_a_secret():
    said = "\n".join(wrong(BAD / "url_with_password.yaml") + wrong(BAD / "unknown_key_holding_a_secret.yaml"))
    assert "me:secret" not in said
    assert "0123456789abcdef" not in said


def test_the_encodings_that_configuration_accepts_are_those_that_decode_registers():
    for module in pkgutil.iter_modules(anomaly.decode.__path__, "anomaly.decode."):
        importlib.import_module(module.name)
    assert sorted(encodings.ENCODINGS) == ENCODINGS


def test_the_shipped_example_is_right_and_says_the_defaults(tmp_path: Path):
    """Read as it stands; and with every commented line of a default uncommented."""
    text = (Path(__file__).parents[2] / "deploy" / "anomaly.yaml").read_text()
    settings = load(written(tmp_path, text), {})
    assert settings.kafka is not None
    assert {s.encoding for s in settings.sources} <= set(ENCODINGS)
    assert [r.name for r in settings.receivers]

    defaults = [line.removeprefix("#= ") for line in text.splitlines() if line.startswith("#= ")]
    assert set(yaml.safe_load("\n".join(defaults))) >= {"threshold", "correlation", "blind", "limits", "health"}
    assert load(written(tmp_path, "\n".join(defaults)), {}) == Settings()


@pytest.mark.parametrize(
    ("text", "per_week"),
    [("10 per week", 10.0), ("1 per day", 7.0), ("3 per month", 0.7), ("2.5  per  hour", 420.0), ("none", float("inf"))],
)
def test_a_budget_is_pages_a_week_however_it_is_written(tmp_path: Path, text: str, per_week: float):
    path = written(tmp_path, f"alert_budget: {text}\n")
    assert load(path, {}).alert_budget["default"] == pytest.approx(per_week)
    assert load(None, {"ANOMALY_ALERT_BUDGET": text}).alert_budget["default"] == pytest.approx(per_week)
    assert load(path, {}, ["alert_budget={prod: 1 per week}"]).alert_budget == {"prod": 1.0}


def test_a_budget_may_be_given_by_environment_and_by_patterns_of_groups(tmp_path: Path):
    path = written(tmp_path, 'alert_budget: {staging: none, "prod/shop/*": 3 per week, default: 1 per day}\n')
    assert load(path, {}).alert_budget == {"staging": float("inf"), "prod/shop/*": 3.0, "default": pytest.approx(7.0)}
    assert load(path, {}, ["alert_budget.staging=2 per week"]).alert_budget["staging"] == 2.0
