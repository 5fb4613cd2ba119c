"""What a tutorial would write: a Faust agent that gets an event per record, and a river model per series.

Run by ingest.py: `python naive.py BOOTSTRAP TOPIC RECORDS` prints points per second, from the first event to the last.
"""

import logging
import os
import sys
import tempfile
import time
from uuid import uuid4

import faust
from river import anomaly

BOOTSTRAP, TOPIC, RECORDS = sys.argv[1], sys.argv[2], int(sys.argv[3])

logging.disable(logging.CRITICAL)
app = faust.App(
    f"naive-{uuid4().hex[:8]}",
    broker=f"kafka://{BOOTSTRAP}",
    store="memory://",
    datadir=tempfile.mkdtemp(),
    consumer_auto_offset_reset="earliest",
    topic_allow_declare=False,
    topic_disable_leader=True,
    web_enabled=False,
)


class Point(faust.Record, serializer="json"):  # type: ignore[call-arg, misc]
    """One sample of one series."""

    timestamp: str
    value: str
    name: str
    labels: dict[str, str]


source = app.topic(TOPIC, value_type=Point)
models: dict[tuple[object, ...], anomaly.GaussianScorer] = {}
began, seen = 0.0, 0


@app.agent(source)  # type: ignore[untyped-decorator]
async def detect(points: faust.Stream[Point]) -> None:
    """Score, then learn."""
    global began, seen
    async for point in points:
        began = began or time.perf_counter()
        key = (point.name, tuple(sorted(point.labels.items())))
        model = models.get(key)
        if model is None:
            model = models[key] = anomaly.GaussianScorer(window_size=None, grace_period=30)
        value = float(point.value)
        score = model.score_one(None, value)
        model.learn_one(None, value)
        if score > 0.99999:
            print(f"anomaly: {key} {value} {score}", file=sys.stderr)
        seen += 1
        if seen == RECORDS:
            print(seen / (time.perf_counter() - began), file=sys.__stdout__, flush=True)

            os._exit(0)


if __name__ == "__main__":
    sys.argv = ["naive", "worker", "--loglevel", "error"]
    app.main()
