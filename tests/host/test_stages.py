"""What a stage tells health, where nothing else of Kafka is needed."""

from anomaly.config.load import load_specs
from anomaly.config.settings import Limits, Settings, SourceSettings
from anomaly.decode.records import Records
from anomaly.decode.stage import PAST_LIMIT
from anomaly.engine import Engine
from anomaly.host.embedded import Reporting
from anomaly.host.health import Health
from anomaly.host.inprocess import walk

ROW = '{"timestamp":"2026-01-01T00:00:00Z","value":"1","name":"up","labels":{"__name__":"up","job":"%d"}}'


def test_points_of_series_past_the_limit_are_counted_where_an_operator_looks():
    """They are neither judged nor set aside; nothing may go unsaid."""
    engine, health = Engine(Settings(limits=Limits(series=2)), load_specs()), Health()
    report = Reporting(engine, health)
    source = SourceSettings(topic="t", encoding="prometheus_json")
    for _ in range(2):
        report(walk(engine, source, Records.of([(ROW % job).encode() for job in range(5)], "t")))
    counted = health.registry.get_sample_value("anomaly_points_total", {"outcome": PAST_LIMIT})
    assert (counted, len(engine.detector(0).register.subjects) <= 2) == (6.0, True)
