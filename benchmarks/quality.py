"""Who finds more, and how fast: our default model and its peers over NAB, same data, same scorer, in one run.

What each is and with which parameters: `peer/detectors.py`. The scorer takes for each profile the best single threshold of
the whole corpus, for everybody. Scores s are handed to it as s / (1 + s). `points_per_s` is by CPU time of one core, points
already decoded; `ratio` is ours over theirs. Ours, Holt-Winters and EWMA are compiled, half-space trees are Python, the
forest is Java. Our parameters were looked at on this corpus; the peers have their usual ones.

    python benchmarks/quality.py --data NAB --scorer nab_score.py [--quick] [--json]
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from benchmarks.nab import File, benchmark_score, files  # noqa: E402
from benchmarks.peer.detectors import DETECTORS, Scored, detectors  # noqa: E402

ABSENT = 3  # exit status: the data is not there
PROFILES = {"standard": "standard", "low_fp": "reward_low_FP_rate", "low_fn": "reward_low_FN_rate"}
QUICK = 8  # every so many files, with --quick
ROW = "{:20}{:>10}{:>9}{:>9}{:>15}{:>9}"


def rated(corpus: Sequence[File], everything: Sequence[File], found: Scored, scorer: Path, root: Path) -> dict[str, float]:
    """The three scores of a detector, and its speed. A file that was not run scores 0 throughout."""
    by_key = {file.key: scores for file, scores in zip(corpus, found.scores, strict=True)}
    judged = [(file, by_key.get(file.key, 0.0 * file.value)) for file in everything]
    final = benchmark_score(scorer, root, judged)["final"]
    row = {name: round(float(final[profile]), 2) for name, profile in PROFILES.items()}
    return row | {"points_per_s": round(sum(f.time.size for f in corpus) / max(found.seconds, 1e-9))}


def main() -> int:
    """Run, print, and say by the exit status whether there was anything to run on."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with NAB's data/ and labels/")
    parser.add_argument("--scorer", type=Path, required=True, help="Python file with a class NAB(root).score(scores)")
    parser.add_argument("--detectors", nargs="+", choices=list(DETECTORS), default=list(DETECTORS))
    parser.add_argument("--quick", action="store_true", help=f"every {QUICK}th file only: the scores mean little")
    parser.add_argument("--json", action="store_true", help="last line: one JSON object")
    options = parser.parse_args()
    if not (options.data / "labels" / "combined_windows.json").is_file():
        print(f"quality: no labels/combined_windows.json in {options.data}: give NAB's folder by --data", file=sys.stderr)
        return ABSENT
    everything = list(files(options.data))
    corpus = everything[::QUICK] if options.quick else everything
    print(ROW.format("", *PROFILES, "points/s", "ratio"))
    report: dict[str, dict[str, Any]] = {}
    for name in options.detectors:
        for found in detectors([name], corpus).values():
            row = report[name] = rated(corpus, everything, found, options.scorer, options.data)
            ratio = report[options.detectors[0]]["points_per_s"] / row["points_per_s"]
            print(
                ROW.format(name, *(f"{row[p]:.1f}" for p in PROFILES), f"{row['points_per_s']:,}", f"{ratio:.2f}"),
                flush=True,
            )
    if options.json:
        print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
