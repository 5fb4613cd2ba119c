"""What a metric's name tells where the wire has neither type nor unit.

Source: the metric naming conventions of the Prometheus documentation: a counter ends in `_total`, a histogram or summary is
a family of counters `_count`, `_sum` and `_bucket`, and the base unit stands before these. Weak where a sender does not
follow them: a counter under another name is taken for a gauge.
"""

from functools import lru_cache

from anomaly.decode.points import Kind

CUMULATIVE = ("_total", "_count", "_sum", "_bucket")

# Unit words to the UCUM codes of OpenTelemetry, so that one model spec fits both worlds.
_UNITS = {
    "seconds": "s",
    "milliseconds": "ms",
    "bytes": "By",
    "ratio": "1",
    "percent": "%",
    "celsius": "Cel",
}


def stem(metric: str) -> str:
    """The name without the suffix that says how it counts."""
    return next((metric.removesuffix(s) for s in CUMULATIVE if metric.endswith(s)), metric)


def kind_of(metric: str) -> Kind:
    """Counter or gauge, by the suffix."""
    return Kind.COUNTER if metric.endswith(CUMULATIVE) else Kind.GAUGE


@lru_cache(4096)
def unit_of(metric: str) -> str:
    """The unit by the last word of the stem; empty where it is none that we know."""
    return _UNITS.get(stem(metric).rpartition("_")[2], "")
