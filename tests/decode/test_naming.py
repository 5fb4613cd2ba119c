"""What names tell."""

import pytest

from anomaly.decode.naming import kind_of, unit_of
from anomaly.decode.points import Kind


@pytest.mark.parametrize(
    ("metric", "kind", "unit"),
    [
        ("http_requests_total", Kind.COUNTER, ""),
        ("process_cpu_seconds_total", Kind.COUNTER, "s"),
        ("http_request_duration_seconds_bucket", Kind.COUNTER, "s"),
        ("rpc_response_bytes_sum", Kind.COUNTER, "By"),
        ("node_memory_free_bytes", Kind.GAUGE, "By"),
        ("cache_hit_ratio", Kind.GAUGE, "1"),
        ("node_hwmon_temp_celsius", Kind.GAUGE, "Cel"),
        ("mem_used_percent", Kind.GAUGE, "%"),
        ("seconds_of_delay", Kind.GAUGE, ""),
        ("kilobytes", Kind.GAUGE, ""),
        ("up", Kind.GAUGE, ""),
    ],
)
def test_kind_and_unit_follow_the_naming_conventions(metric: str, kind: Kind, unit: str):
    assert (kind_of(metric), unit_of(metric)) == (kind, unit)
