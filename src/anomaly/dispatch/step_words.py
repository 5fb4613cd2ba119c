"""What an alert says of steps of traces: what came after what, or did not, and what took longer, in how many of how many."""

from anomaly.correlate.evidence import DURATIONS
from anomaly.decode.steps_series import BETWEEN, SELF, STEPS
from anomaly.detect.anomaly import Anomaly
from anomaly.detect.sequences import ABSENT
from anomaly.dispatch.amounts import RATIO, amount, plain

NAME = 40  # characters of a step or an operation


def is_steps(anomaly: Anomaly) -> bool:
    """Whether it is about steps of traces, or how long they took."""
    return anomaly.metric == STEPS or anomaly.metric in DURATIONS


def finding(anomaly: Anomaly) -> str:
    """`“ERROR Pay.java:71” comes after “start” of Charge in 34 of 60 traces (usual 0.2 %)`."""
    few = "only " if anomaly.quantity == ABSENT else ""
    k, n = anomaly.events or (0.0, 0.0)
    share = anomaly.expected[0] if few and anomaly.expected[0] > 0 else anomaly.expected[1]
    usual = f", where “{plain(anomaly.usual, NAME)}” is usual" if anomaly.usual else ""
    return f"{what(anomaly)} in {few}{k:,.0f} of {n:,.0f} traces (usual {amount(share, RATIO)}){usual}"


def what(anomaly: Anomaly) -> str:
    """What happens, without how often."""
    labels = dict(anomaly.labels)
    operation = plain(labels.get("span.name", ""), NAME)
    if anomaly.metric == STEPS:
        before, after = (plain(labels.get(name, ""), NAME) for name in ("step", "next"))
        return f"“{after}” comes after “{before}”{f' of {operation}' if operation else ''}"
    if anomaly.metric == BETWEEN:
        return f"calls of {operation} by {plain(labels.get('client', ''), NAME)} are slow on the way (network, or waiting)"
    return f"own work on {operation} is slow" if anomaly.metric == SELF else f"{operation} is slow"


def briefly(anomaly: Anomaly) -> str:
    """The same in the few words of a title."""
    labels = dict(anomaly.labels)
    if anomaly.metric == STEPS:
        missing = "no " if anomaly.quantity == ABSENT else ""
        return missing + plain(anomaly.code or labels.get("next", ""), NAME)
    if anomaly.metric == BETWEEN:
        return "the way to it is slow"
    return f"slow {plain(labels.get('span.name', ''), NAME)}"
