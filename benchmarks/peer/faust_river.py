"""Faust with an event a record and a river model a series, run by peers.py:

python faust_river.py BOOTSTRAP TOPIC MODEL RECORDS SECONDS

prints JSON when it has seen so many records or worked so long. Bodies are parsed by orjson, which is kinder to it than
Faust's own Record.
"""

import logging
import os
import sys
import tempfile
from pathlib import Path
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import faust
import orjson
from benchmarks.peer.river_models import Bench

BOOTSTRAP, TOPIC, MODEL, RECORDS, SECONDS = sys.argv[1:6]

logging.disable(logging.CRITICAL)
app = faust.App(
    f"peer-{uuid4().hex[:8]}",
    broker=f"kafka://{BOOTSTRAP}",
    store="memory://",
    datadir=tempfile.mkdtemp(),
    consumer_auto_offset_reset="earliest",
    topic_allow_declare=False,
    topic_disable_leader=True,
    web_enabled=False,
)
bench = Bench(MODEL, int(RECORDS), float(SECONDS))


@app.agent(app.topic(TOPIC, value_serializer="raw"))  # type: ignore[untyped-decorator]
async def detect(records: faust.Stream[bytes]) -> None:
    """Score, then learn."""
    async for record in records:
        if bench.judge(orjson.loads(record)):
            print(bench.result(), file=sys.__stdout__, flush=True)
            os._exit(0)


if __name__ == "__main__":
    sys.argv = ["peer", "worker", "--loglevel", "error"]
    app.main()
