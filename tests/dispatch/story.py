"""Anomalies and incidents written in a line, for the tests of correlate and dispatch."""

from typing import Any

from msgspec import structs

from anomaly.config.models import Direction, Signal
from anomaly.detect.anomaly import Anomaly, Event, Tick

START = 1_767_258_130_000  # 2026-01-01T09:02:10Z
DAY = 86_400.0

ERRORS = {
    "metric": "http.server.request.duration",
    "quantity": "error ratio",
    "unit": "1",
    "signal": Signal.ERRORS,
    "pages": True,
    "observed": 0.31,
    "expected": (0.0, 0.003),
    "events": (212.0, 684.0),
    "score": 14.2,
}
LATENCY = {
    "metric": "http.server.request.duration",
    "quantity": "p95",
    "unit": "s",
    "signal": Signal.LATENCY,
    "pages": True,
    "observed": 0.512,
    "expected": (0.018, 0.031),
    "score": 11.0,
}
LOSS = {
    "metric": "http.server.request.duration",
    "quantity": "rate",
    "unit": "/s",
    "signal": Signal.TRAFFIC,
    "pages": True,
    "observed": 3.2,
    "expected": (110.0, 140.0),
    "score": 9.0,
    "direction": Direction.BELOW,
}
RISE = LOSS | {"observed": 420.0, "direction": Direction.ABOVE}
SILENCE = {
    "metric": "group",
    "quantity": "heard",
    "unit": "s",
    "signal": Signal.TRAFFIC,
    "pages": True,
    "observed": 52.0,
    "current": 52.0,
    "expected": (0.0, 1.0),
    "score": 7.0,
}
QUEUE = {
    "metric": "queue.depth",
    "quantity": "value",
    "unit": "{item}",
    "signal": Signal.SATURATION,
    "observed": 900.0,
    "expected": (3.0, 40.0),
    "score": 8.0,
    "aggregate": False,
    "instance": (("k8s.pod.name", "pod-3"),),
}
OTHER = {
    "metric": "cache.hits",
    "quantity": "rate",
    "unit": "{hit}/s",
    "observed": 2.0,
    "expected": (30.0, 44.0),
    "score": 7.0,
}


def at(seconds: float) -> int:
    """Milliseconds since the epoch, so many seconds into the story."""
    return START + round(seconds * 1000)


def opened(name: str, seconds: float, group: str = "checkout", kind: dict[str, Any] = LATENCY, **more: Any) -> Anomaly:
    """An anomaly that opens so many seconds into the story."""
    given: dict[str, Any] = {
        "id": name,
        "event": Event.OPEN,
        "time": at(seconds),
        "environment": "prod",
        "group": group,
        "metric": "m",
        "quantity": "value",
        "labels": (),
        "instance": (),
        "aggregate": True,
        "unit": "",
        "signal": Signal.OTHER,
        "spec": "s",
        "pages": False,
        "direction": Direction.ABOVE,
        "started": at(seconds),
        "ended": None,
        "score": 8.0,
        "observed": 10.0,
        "current": 10.0,
        "expected": (1.0, 2.0),
        "events": None,
        "bad": False,
        "learned": 14 * DAY,
    }
    given |= kind | more
    points = (
        (at(seconds - 2), given["expected"][1]),
        (at(seconds - 1), given["expected"][1]),
        (at(seconds), given["observed"]),
    )
    return Anomaly(**({"points": points} | given))


def grown(anomaly: Anomaly, seconds: float, **more: Any) -> Anomaly:
    """A new peak of it."""
    return structs.replace(anomaly, event=Event.RECORD, time=at(seconds), **more)


def closed(anomaly: Anomaly, seconds: float, reason: str = "back to normal") -> Anomaly:
    """Its end."""
    return structs.replace(anomaly, event=Event.CLOSE, time=at(seconds), ended=at(seconds), reason=reason)


def tick(seconds: float, partition: int = 0) -> Tick:
    """Time goes on."""
    return Tick(partition=partition, time=at(seconds))
