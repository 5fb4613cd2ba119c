"""What an alert says of checks: one of which nothing is heard, and a point in time that comes near."""

from anomaly.detect.anomaly import LEFT, MISSED, Anomaly
from anomaly.dispatch.amounts import plain, span

NAME = 48  # characters of a check


def is_told(anomaly: Anomaly) -> bool:
    """Whether it is about such a thing."""
    return anomaly.quantity in (LEFT, MISSED)


def finding(anomaly: Anomaly) -> str:
    """`no results of check shop for 2 min (usually every 30 s)`, `probe_ssl_earliest_cert_expiry of shop is in 13 days`."""
    if anomaly.quantity == MISSED:
        return f"no results of {check(anomaly)} for {span(anomaly.observed)} (usually every {span(anomaly.expected[1])})"
    return until(anomaly, anomaly.observed)


def now(anomaly: Anomaly) -> str:
    """How it stands."""
    if anomaly.quantity == MISSED:
        return f"no results for {span(anomaly.current)}"
    return until(anomaly, anomaly.current)


def until(anomaly: Anomaly, seconds: float) -> str:
    """When it is, from now."""
    when = f"is in {span(seconds)}" if seconds > 0 else f"was {span(-seconds)} ago"
    named = check(anomaly)
    return f"{plain(anomaly.metric, NAME)}{f' of {named}' if named else ''} {when}"


def check(anomaly: Anomaly) -> str:
    """What is checked: the name that `anomaly probe` gives it, else what is asked, else the metric."""
    labels = dict((*anomaly.labels, *anomaly.instance))
    named = next((labels[name] for name in ("probe", "instance", "http.url") if labels.get(name)), "")
    return plain(named or ("" if anomaly.quantity == LEFT else anomaly.metric), NAME)
