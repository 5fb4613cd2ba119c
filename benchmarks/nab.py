"""The shipped default model over the Numenta Anomaly Benchmark, one configuration for all files, each point read once.

A row's score is what its episode says there: s / (1 + s) of the score s where an episode opens or sets a new record, else
0. Written in NAB's results format, so that any scorer of the benchmark can judge it. The table counts a window as found
where such a row reaches `ALERT` within it; the benchmark's own threshold is chosen by its scorer.

    python benchmarks/nab.py --data NAB --out results --scorer nab_score.py
"""

import argparse
import csv
import importlib.util
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomaly.config.load import load_specs
from anomaly.config.models import DEFAULT, ModelSpec
from anomaly.detect.bank import Bank
from anomaly.detect.episodes import CLOSED, Episodes
from anomaly.detect.walk import walk

ABSENT = 3  # exit status: the data is not there
ALERT = 6.0  # evidence that an alert needs by default
PROBATION, MOST_PROBATION = 0.15, 750  # rows that the benchmark does not score


@dataclass(slots=True)
class File:
    """One file: the first two columns as written, the same as numbers, and its labelled windows (first, last) in ms."""

    key: str
    text: list[tuple[str, str]]
    time: NDArray[np.int64]
    value: NDArray[np.float64]
    windows: list[tuple[int, int]]


def milliseconds(text: str) -> int:
    """NAB's timestamps have no zone: read as UTC."""
    return int(datetime.fromisoformat(text.strip()).replace(tzinfo=UTC).timestamp() * 1000)


def files(root: Path) -> Iterator[File]:
    """All labelled files below `root`, by name."""
    labels = json.loads((root / "labels" / "combined_windows.json").read_text())
    for key in sorted(labels):
        with (root / "data" / key).open(newline="") as lines:
            text = [(row[0], row[1]) for row in csv.reader(lines)][1:]
        times = np.array([milliseconds(t) for t, _ in text], np.int64)
        values = np.array([float(v) for _, v in text])
        yield File(key, text, times, values, [(milliseconds(a), milliseconds(b)) for a, b in labels[key]])


def default_spec() -> ModelSpec:
    """The spec that takes what no other one does, as shipped."""
    return next(spec for spec in load_specs() if spec.name == DEFAULT)


def said(file: File, spec: ModelSpec) -> NDArray[np.float64]:
    """Per row, the score where an episode opens or sets a new record, else 0."""
    bank, episodes = Bank(), Episodes([spec])
    bank.ensure(1)
    episodes.ensure(1)
    zeros = np.zeros(file.time.size, np.int64)
    season = np.full(file.time.size, spec.season)
    _, events = walk(bank, episodes, zeros, file.time, file.value, season, zeros, zeros)
    out, speaks = np.zeros(file.time.size), events.event != CLOSED
    out[events.index[speaks]] = events.score[speaks]
    return out


def write(file: File, score: NDArray[np.float64], out: Path) -> None:
    """One results file of the benchmark."""
    category, name = file.key.split("/")
    path = out / "anomaly" / category / f"anomaly_{name}"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as target:
        rows = csv.writer(target, lineterminator="\n")
        rows.writerow(("timestamp", "value", "anomaly_score"))
        rows.writerows((*text, repr(float(s / (1.0 + s)))) for text, s in zip(file.text, score, strict=True))


def found(file: File, score: NDArray[np.float64]) -> tuple[int, int]:
    """How many windows hold a row that reaches ALERT, and how many such rows lie outside, after the probation."""
    rated = np.arange(score.size) >= min(int(PROBATION * score.size), MOST_PROBATION)
    spoke = file.time[(score >= ALERT) & rated]
    inside = [(spoke >= first) & (spoke <= last) for first, last in file.windows]
    within = np.logical_or.reduce(inside) if inside else np.zeros(spoke.size, bool)
    return sum(bool(i.any()) for i in inside), int((~within).sum())


def table(judged: Sequence[tuple[File, NDArray[np.float64]]]) -> dict[str, dict[str, int]]:
    """Per category: files, windows, windows found, rows that speak outside of any."""
    rows: dict[str, dict[str, int]] = {}
    for file, score in judged:
        hits, others = found(file, score)
        row = rows.setdefault(file.key.split("/")[0], {"files": 0, "windows": 0, "found": 0, "outside": 0})
        for name, n in (("files", 1), ("windows", len(file.windows)), ("found", hits), ("outside", others)):
            row[name] += n
    return rows


def benchmark_score(scorer: Path, root: Path, judged: Sequence[tuple[File, NDArray[np.float64]]]) -> dict[str, Any]:
    """What an independent scorer (a Python file with a class NAB) says: per profile, and per half of the files."""
    spec = importlib.util.spec_from_file_location("nab_scorer", scorer)
    if spec is None or spec.loader is None:
        raise SystemExit(f"nab: {scorer} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    result: dict[str, Any] = module.NAB(str(root)).score({f.key: s / (1.0 + s) for f, s in judged})
    return result


def main() -> int:
    """Run, print, and say by the exit status whether there was anything to run on."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with NAB's data/ and labels/")
    parser.add_argument("--out", type=Path, help="where results are written, in NAB's format")
    parser.add_argument("--scorer", type=Path, help="Python file with a class NAB(root).score(scores)")
    parser.add_argument("--json", action="store_true", help="last line: one JSON object")
    options = parser.parse_args()
    if not (options.data / "labels" / "combined_windows.json").is_file():
        print(f"nab: no labels/combined_windows.json in {options.data}: give NAB's folder with --data", file=sys.stderr)
        return ABSENT
    spec, corpus = default_spec(), list(files(options.data))
    said(corpus[0], spec)  # compiles
    start = time.perf_counter()
    judged = [(file, said(file, spec)) for file in corpus]
    seconds = time.perf_counter() - start
    if options.out:
        for file, score in judged:
            write(file, score, options.out)
    rows = table(judged)
    print(f"{'category':24}{'files':>6}{'windows':>9}{'found':>7}{'rows that alert elsewhere':>27}")
    for name, row in rows.items():
        print(f"{name:24}{row['files']:6}{row['windows']:9}{row['found']:7}{row['outside']:27}")
    points = sum(f.time.size for f in corpus)
    report: dict[str, Any] = {"points": points, "seconds": round(seconds, 3), "points_per_s": round(points / seconds)}
    report |= {k: sum(row[k] for row in rows.values()) for k in ("windows", "found", "outside")}
    if options.scorer:
        result = benchmark_score(options.scorer, options.data, judged)
        report |= {k: round(v, 2) for k, v in result["final"].items()}
        report |= {f"half_{h}_standard": round(v["standard"], 2) for h, v in result["half"].items()}
        report |= {f"half_{h}_by_the_other_standard": round(v["standard"], 2) for h, v in result["cross"].items()}
        for name in ("standard", "reward_low_FP_rate", "reward_low_FN_rate"):
            print(f"{name:24}{report[name]:6.2f}")
    print(f"{points} points in {seconds:.2f} s")
    if options.json:
        print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
