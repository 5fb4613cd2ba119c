"""Log lines: from OTLP protobuf to counts per template, side by side with the way that one would write first.

Ours is `Decode.blocks` and what detect does with lines, on one core, all kinds of lines known but those that come anew.
The plain way walks the parsed messages (upb) and gives each body to drain3's core, as drain3 comes (depth 4, similarity
0.4). Both in one process, interleaved; the best of several rounds of CPU time counts. Grouping accuracy is the share of
lines whose group is exactly that of the reference, templates.csv matched by pattern; the text is what stands behind the
component's name.
Sessions: the steps of HDFS blocks (consecutive events, start and end included) go as points of `trace.steps` through what
judges traces, the normal ones of the training file, SESSIONS a cell. Flagged is a test session in which one step, or the
lack of one, has a probability below one in a thousand by what was learned (`detect.one_trace`; its own limit, none chosen
here). `hdfs_f1_unread` is the same learned of all training sessions, their labels unread.
drain3 is no dependency: `pip install --no-deps drain3 cachetools
jsonpickle` into a folder, and --drain FOLDER.
"""

import argparse
import csv
import gzip
import json
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest  # noqa: E402

from anomaly.config.load import load_specs  # noqa: E402
from anomaly.config.settings import Settings, SourceSettings  # noqa: E402
from anomaly.decode.block import Announced, Block  # noqa: E402
from anomaly.decode.identity import Identity, Series  # noqa: E402
from anomaly.decode.points import Flag, Kind, Points  # noqa: E402
from anomaly.decode.records import Records  # noqa: E402
from anomaly.decode.stage import Decode  # noqa: E402
from anomaly.decode.steps_series import CELL, END, NEXT, OPERATION, START, STEP, STEPS  # noqa: E402
from anomaly.detect.detector import Detector  # noqa: E402
from anomaly.detect.one_trace import odd_steps  # noqa: E402

ABSENT = 3  # exit status: there is nothing to run on
BEGIN = 1_700_000_000  # seconds since the epoch
BLOCK = 4 << 20  # bytes
SESSIONS = 20  # that end in a cell
SOURCE = SourceSettings(topic="logs", encoding="otlp_logs_proto")


def hdfs(folder: Path) -> list[str]:
    """The texts of the raw extract."""
    with gzip.open(folder / "HDFS_20000.log.gz", "rt") as lines:
        return [line.rstrip("\n").split(": ", 1)[1] for line in lines]


def nezha(folder: Path) -> list[str]:
    """The lines of all logs of the slice."""
    found = []
    for path in sorted(folder.glob("*_data/*/log/*.csv.gz")):
        with gzip.open(path, "rt", newline="") as rows:
            for row in csv.DictReader(rows):
                try:
                    found.append(str(json.loads(row["Log"])["log"]).rstrip())
                except (ValueError, TypeError, KeyError):
                    continue  # a row with broken quoting
    return found


def reference(folder: Path, texts: Sequence[str]) -> list[str]:
    """The event of each line, the most specific pattern first."""
    with (folder / "templates.csv").open() as rows:
        events = [(row["EventTemplate"].split("<*>"), row["EventId"]) for row in csv.DictReader(rows)]
    events.sort(key=lambda e: -sum(map(len, e[0])))
    patterns = [(re.compile(".*?".join(map(re.escape, parts)) + r"\Z"), event) for parts, event in events]
    return [next((event for pattern, event in patterns if pattern.match(text)), "") for text in texts]


def accuracy(found: Sequence[Hashable], true: Sequence[Hashable]) -> float:
    """The share of lines whose group is that of the reference, no line more and none less."""
    groups: list[dict[Hashable, list[int]]] = [defaultdict(list), defaultdict(list)]
    for i, pair in enumerate(zip(found, true, strict=True)):
        for group, name in zip(groups, pair, strict=True):
            group[name].append(i)
    right = {tuple(lines) for lines in groups[1].values()}
    return sum(len(lines) for lines in groups[0].values() if tuple(lines) in right) / len(found)


def requests(texts: Sequence[str], per_request: int) -> Iterator[bytes]:
    """The lines as the Collector would write them, ten thousand a second."""
    for first in range(0, len(texts), per_request):
        request = ExportLogsServiceRequest()
        one = request.resource_logs.add()
        one.resource.attributes.add(key="service.name").value.string_value = "logs"
        scope = one.scope_logs.add()
        for i, text in enumerate(texts[first : first + per_request], first):
            line = scope.log_records.add(time_unix_nano=BEGIN * 10**9 + i * 10**5, severity_number=9, severity_text="INFO")
            line.body.string_value = text
        yield request.SerializeToString()


def blocks(values: Sequence[bytes]) -> list[list[bytes]]:
    """Values by blocks."""
    found, size = [list[bytes]()], 0
    for value in values:
        if size > BLOCK:
            found.append([])
            size = 0
        found[-1].append(value)
        size += len(value)
    return found


class Ours:
    """Decode, and the counting of lines in detect."""

    def __init__(self) -> None:
        self.decode = Decode(Settings(), 1)
        self.logs = Detector(0, load_specs(), Settings()).logs
        self.kinds = 0

    def take(self, records: Records) -> None:
        """Count the lines of a block."""
        for _, block in self.decode.blocks(SOURCE, records)[0]:
            self.kinds += len(block.series)
            self.logs.announced(block.series)
            self.logs.take(block.points, self.logs.find(block.points.series), block.lateness, block.source)

    def groups(self, texts: Sequence[str]) -> list[int]:
        """The template of each line, after all were met."""
        from anomaly.decode.log_mask import masked
        from anomaly.detect.templates import Templates

        tree, known, count = Templates(), dict[bytes, int](), 0
        for text in texts:
            kind = masked(text.encode())
            if kind not in known:
                number = tree.match("info", kind.decode())
                if number is None:
                    number, count = count, count + 1
                    tree.put(number, "info", tree.words("info", kind.decode()))
                known[kind] = number
        return [known[masked(text.encode())] for text in texts]


def drain(folder: Path | None) -> Callable[[], Any] | None:
    """Makes drain3's core; None where it is not installed."""
    sys.path[:0] = [str(folder)] if folder else []
    try:
        from drain3.drain import Drain  # type: ignore[import-not-found]
    except ImportError:
        return None
    return lambda: Drain(depth=4, sim_th=0.4)


def walk(core: Any, values: Sequence[bytes]) -> int:
    """The plain way."""
    lines = 0
    for value in values:
        for one in ExportLogsServiceRequest.FromString(value).resource_logs:
            for scope in one.scope_logs:
                for record in scope.log_records:
                    core.add_log_message(record.body.string_value)
                    lines += 1
    return lines


def measured(texts: Sequence[str], core: Callable[[], Any] | None, per_request: int, rounds: int) -> dict[str, Any]:
    """Lines a second, ours and the plain way, and the share of lines whose kind was not known."""
    values = list(requests(texts, per_request))
    offset, fast, slow, ours = 0, 0.0, 0.0, Ours()
    plain = core() if core else None
    kept, new = [Records.of(values_, "logs", time=BEGIN * 1000) for values_ in blocks(values)], 0
    for number in range(rounds + 1):  # the first one meets everything
        before = ours.kinds
        began = time.process_time()
        for records in kept:
            records.offset += offset
            ours.take(records)
        fast = max(fast, len(texts) / (time.process_time() - began)) if number else 0.0
        new = new or ours.kinds - before
        if plain and number < 3:
            began = time.process_time()
            slow = max(slow, walk(plain, values) / (time.process_time() - began)) if number else walk(plain, values) * 0.0
    return {
        "lines": len(texts), "kinds": new, "unseen": new / len(texts), "templates": len(ours.logs.kinds),
        "lines_per_s": round(fast),
        "drain_lines_per_s": round(slow) or None, "vs_drain": round(fast / slow, 1) if slow else None,
    }  # fmt: skip


def sessions(folder: Path, name: str) -> list[tuple[list[str], bool]]:
    """The steps of each session of a file, and whether it is labelled as an anomaly."""
    with gzip.open(folder / f"sessions_{name}.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines]
    return [([START, *row["events"], END], bool(row["label"])) for row in rows]


def step_series(step: str, following: str = "") -> Series:
    """The series of a step of a session."""
    labels = {"service.name": "hdfs", OPERATION: "", STEP: step} | ({NEXT: following} if following else {})
    return Identity(Settings().identity).series(STEPS, "1", labels, Kind.DELTA)


def taught(detector: Detector, some: Sequence[Sequence[str]]) -> None:
    """Judge and learn sessions as a stream, SESSIONS a cell."""
    known: dict[tuple[str, str], Series] = {}
    for cell, first in enumerate(
        range(0, len(some) + 12 * SESSIONS, SESSIONS), BEGIN * 1000 // CELL
    ):  # the last are learned too
        counts = Counter(key for steps in some[first : first + SESSIONS] for key in distinct(steps))
        new = {key: step_series(*key) for key in counts if key not in known}
        known |= new
        points = Points.empty(len(counts))
        points.series[:] = [known[key].hash for key in counts]
        points.value[:], points.kind[:], points.flags[:] = list(counts.values()), Kind.DELTA, Flag.PART
        points.start[:], points.time[:] = cell * CELL, (cell + 1) * CELL
        detector.detect(Block("hdfs", 0, 0, 0, (cell + 1) * CELL, 0, points, Announced.of(new.values())))


def distinct(steps: Sequence[str]) -> set[tuple[str, str]]:
    """What counts once for a session: its steps, each with and without the next."""
    return {(a, "") for a in steps[:-1]} | set(pairwise(steps))


def f1(folder: Path, unread: bool) -> float:
    """F1 of the test sessions that are flagged."""
    detector, who = Detector(0, load_specs(), Settings()), step_series(START)
    taught(detector, [steps for steps, odd in sessions(folder, "train") if unread or not odd])
    test = sessions(folder, "test")
    flagged = [bool(odd_steps(detector.traced.sequences, who, steps)) for steps, _ in test]
    right = sum(f and odd for f, (_, odd) in zip(flagged, test, strict=True))
    return 2.0 * right / (sum(flagged) + sum(odd for _, odd in test))


def main() -> int:
    """Run, print, and say by the exit status whether there was anything to run on."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with HDFS_20000.log.gz and templates.csv")
    parser.add_argument("--nezha", type=Path, help="folder with Nezha's construct_data and rca_data")
    parser.add_argument("--drain", type=Path, help="folder that drain3 was installed into")
    parser.add_argument("--per-request", type=int, default=500, help="lines a request (default 500)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="last line: JSON")
    options = parser.parse_args()
    if not (options.data / "HDFS_20000.log.gz").is_file():
        print(f"logs: no HDFS_20000.log.gz in {options.data}: give the folder with --data", file=sys.stderr)
        return ABSENT
    core, texts = drain(options.drain), hdfs(options.data)
    if core is None:
        print("logs: drain3 is not installed, so nothing is compared with it (see --drain)", file=sys.stderr)
    true, made = reference(options.data, texts), core() if core else None
    found = {"hdfs": measured(texts, core, options.per_request, options.rounds)}
    if options.nezha:
        found["nezha"] = measured(nezha(options.nezha), core, options.per_request, options.rounds)
    theirs = accuracy([made.add_log_message(text)[0].cluster_id for text in texts], true) if made else None
    result = found["hdfs"] | {"grouping_accuracy": accuracy(Ours().groups(texts), true), "drain_accuracy": theirs}
    for name, row in found.items():
        print(name, *(f"{key} {value}" for key, value in row.items()), sep="  ")
    scores = {"hdfs_f1": f1(options.data, False), "hdfs_f1_unread": f1(options.data, True)}
    print(*(f"{name} {score:.3f}" for name, score in scores.items()), sep="  ")
    print(f"grouping accuracy {result['grouping_accuracy']:.4f}, drain3's {theirs}")
    if options.json:
        print(json.dumps(result | scores | {"nezha": found.get("nezha")}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
