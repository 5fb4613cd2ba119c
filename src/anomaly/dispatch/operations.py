"""How what was counted from spans is called in a sentence: the operation, who calls it, and what was measured of it."""

from anomaly.detect.anomaly import Anomaly
from anomaly.dispatch.amounts import plain

NAME = 40  # characters of an operation in a title
SPOKEN = {
    "traces.span.metrics.calls": "calls",
    "traces.span.metrics.duration": "duration",
    "traces.service.graph.request": "calls",
    "traces.service.graph.request.client": "callers' waiting time",
    "traces.service.graph.request.between": "time between caller and callee",
}


def operation(anomaly: Anomaly) -> str:
    """`GET /cart, `, or `shop/web to GET /cart, ` for calls of one service by another; nothing for all else."""
    labels = dict(anomaly.labels)
    if not anomaly.metric.startswith(("traces.", "traces_")) or "span.name" not in labels:
        return ""
    client = f"{plain(labels['client'], NAME)} to " if "client" in labels else ""
    return f"{client}{plain(labels['span.name'], NAME)}, "


def spoken(metric: str) -> str:
    """A metric of spans in words; any other as it is called."""
    return SPOKEN.get(metric, metric)
