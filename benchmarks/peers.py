"""What others make of the same records: points a second and bytes a series, beside ours, in one run.

ours                      our worker: block transport through Faust, decode and detect in one stage, all shipped models
faust_river               a Faust agent, an event a record; of river's parts a detector of work comparable to ours
faust_river_light         the same with river's GaussianScorer
quix_river, …_light       quix-streams with the same two
random_cut_forest         the Java core, a forest a series: its defaults, over windows of eight points
random_cut_forest_light   the same with ten trees of 64 points, each point alone

One-point JSON records of 1,000 series, lz4, over 4 partitions. Each reads the same topic from its beginning, in a process of
its own, until it has read all or worked for SECONDS; time runs from the first event, ours from the assignment of
partitions. Bytes a series: growth of the process's memory over series (ours with its labels; river without its key),
for Java heap after collection, of forests that are full (while they fill, they are faster). `ratio` is ours over theirs
in points a second.
"""

import argparse
import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import uuid4

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tests.host import broker as kafka  # noqa: E402

from benchmarks import growth, ingest  # noqa: E402

PEER = Path(__file__).with_name("peer")
VENV, JARS = ROOT / ".cache" / "peers-venv", ROOT / ".cache" / "peers-java"
OURS_SERIES = 100_000  # over which our memory is measured: a few thousand would vanish in it
FORESTS = {"random_cut_forest": (50, 256, 8), "random_cut_forest_light": (10, 64, 1)}  # trees, points a tree, window
HEAP = "-Xmx4g"

Found = dict[str, float]


class Skipped(Exception):
    """A peer that cannot run here; the message says why."""


def run(command: Sequence[object], timeout: float = 600) -> str:
    """The last line that a command printed."""
    try:
        found = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=timeout, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Skipped(str(error)) from error
    lines = found.stdout.strip().splitlines()
    if found.returncode or not lines:
        said = (found.stderr or found.stdout).strip().splitlines() or [f"exit status {found.returncode}"]
        raise Skipped(next((line for line in said if "rror" in line), said[-1])[:200])
    return lines[-1]


def ours(bootstrap: str, topic: str, records: int, seconds: float) -> Found:
    """Our worker."""
    found = ingest.part("worker", bootstrap, topic, "prometheus_json", records, "faust", 1)
    size = growth.part(OURS_SERIES)["bytes_per_series"]
    speed = {"points_per_s": found["rate"], "points_per_cpu_s": found["cpu"]}
    return speed | {"points": records, "series": found["series"], "bytes_per_series": size}


def of_river(python: Path, script: str, model: str, where: Sequence[object]) -> Found:
    """A river model a series, by a script that prints what it measured."""
    found = dict(json.loads(run([python, PEER / script, *where[:2], model, *where[2:]])))
    return found | {"bytes_per_series": float(run([python, PEER / "river_models.py", model]))}


def faust_river(model: str) -> Callable[..., Found]:
    """In our own virtual environment."""
    return lambda *where: of_river(Path(sys.executable), "faust_river.py", model, where)


def quix_river(model: str) -> Callable[..., Found]:
    """In a virtual environment of its own, made at first use."""

    def measured(*where: object) -> Found:
        python, ready = VENV / "bin" / "python", VENV / ".ready"
        if not ready.exists():
            run([sys.executable, "-c", f"import venv; venv.create({str(VENV)!r}, with_pip=True); print('made')"])
            run([python, "-m", "pip", "install", "--disable-pip-version-check", "-r", PEER / "requirements.txt"])
            ready.touch()
        return of_river(python, "quix_river.py", model, where)

    return measured


def forest(name: str) -> Callable[..., Found]:
    """The Java program, compiled as it is started."""

    def measured(bootstrap: str, topic: str, records: int, seconds: float) -> Found:
        if not any(JARS.glob("randomcutforest-core-*.jar")):
            fetch = ["mvn", "-B", "-f", PEER / "pom.xml", "dependency:copy-dependencies", f"-DoutputDirectory={JARS}"]
            run([*fetch, "-DincludeScope=runtime"])
        path = f"{JARS}/*:{kafka.jars()}/*"
        of = (bootstrap, topic, ingest.PARTITIONS, *FORESTS[name], records, seconds)
        return dict(json.loads(run(["java", HEAP, "-cp", path, PEER / "Forest.java", *of])))

    return measured


PEERS: dict[str, Callable[..., Found]] = {
    "ours": ours,
    "faust_river": faust_river("full"),
    "faust_river_light": faust_river("light"),
    "quix_river": quix_river("full"),
    "quix_river_light": quix_river("light"),
    **{name: forest(name) for name in FORESTS},
}


def measure(bootstrap: str, records: int, series: int, seconds: float) -> dict[str, dict[str, float | str]]:
    """Each in turn; prints the table on the way."""
    topic = f"peers-{uuid4().hex[:6]}"
    asyncio.run(ingest.fill(bootstrap, topic, ingest.json_records(records, series)))
    row = "{:26} {:>10} {:>10} {:>12} {:>9} {:>10}"
    print(row.format("", "points/s", "of CPU", "bytes/series", "ratio", "points"))
    results: dict[str, dict[str, float | str]] = {}
    best = 0.0
    for name, peer in PEERS.items():
        try:
            found = peer(bootstrap, topic, records, seconds)
        except (Skipped, kafka.Missing) as why:
            results[name] = {"skipped": str(why)}
            print(f"{name:26} skipped: {why}", flush=True)
            continue
        best = best or found["points_per_s"]
        results[name] = {**found, "ratio": best / found["points_per_s"]}
        speed = [f"{found[k]:,.0f}" for k in ("points_per_s", "points_per_cpu_s", "bytes_per_series")]
        print(row.format(name, *speed, f"{best / found['points_per_s']:,.1f}", f"{found['points']:,.0f}"), flush=True)
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="an object per peer as the last line")
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--series", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=30.0, help="the longest that a peer works")
    args = parser.parse_args()
    try:
        with kafka.broker() as bootstrap:
            results = measure(bootstrap, args.records, args.series, args.seconds)
    except kafka.Missing as missing:
        print(missing, file=sys.stderr)
        return ingest.ABSENT
    if args.json:
        print(json.dumps(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
