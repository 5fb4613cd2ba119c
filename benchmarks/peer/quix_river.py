"""quix-streams with a river model a series, run by peers.py in a virtual environment of its own:

python quix_river.py BOOTSTRAP TOPIC MODEL RECORDS SECONDS

prints JSON when it has seen so many records or worked so long. The models are in a dict, as in its tutorials: its own state
store would serialize one for every record.
"""

import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
warnings.simplefilter("ignore")

from benchmarks.peer.river_models import Bench  # noqa: E402
from quixstreams import Application  # type: ignore[import-not-found]  # noqa: E402


def main() -> None:
    bootstrap, topic, model, records, seconds = sys.argv[1:6]
    bench = Bench(model, int(records), float(seconds))

    def judge(record: dict[str, Any]) -> None:
        if bench.judge(record):
            print(bench.result(), flush=True)
            os._exit(0)

    app = Application(
        bootstrap,
        consumer_group=f"peer-{uuid4().hex[:8]}",
        auto_offset_reset="earliest",
        auto_create_topics=False,
        use_changelog_topics=False,
        state_dir=tempfile.mkdtemp(),
        loglevel="ERROR",
    )
    app.dataframe(app.topic(topic, value_deserializer="json")).update(judge)
    app.run()


if __name__ == "__main__":
    main()
