"""What an alert says of log lines: which kind of line, how many, and one of them."""

from anomaly.decode.log_lines import METRIC, TEMPLATE
from anomaly.detect import novelty, vanished
from anomaly.detect.anomaly import Anomaly
from anomaly.dispatch.amounts import plain

SHOWN = 48  # characters of a template in a title; the example has room of its own
WHOLE = 300


def is_lines(anomaly: Anomaly) -> bool:
    """Whether it is about log lines of one kind."""
    return anomaly.metric == METRIC


def subject(anomaly: Anomaly) -> str:
    """Which lines; how many follows."""
    kind = plain(dict(anomaly.labels).get(TEMPLATE, ""), SHOWN)
    if anomaly.quantity == novelty.QUANTITY:
        return f"lines never seen before, “{kind}”: "
    return f"lines like “{kind}” {'are away for' if anomaly.quantity == vanished.QUANTITY else 'are'} "


def example(anomaly: Anomaly) -> str:
    """One of the lines, as evidence."""
    return f"for example “{plain(anomaly.example, WHOLE)}”" if anomaly.example else ""
