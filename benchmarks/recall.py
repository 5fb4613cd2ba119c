"""What is found at a budget: labelled windows met by alarms, of all series pooled, ours against what peers find.

Budgets are alarms a week of all series together, the length of a series being the mean one. Ours is given the lowest
threshold that raises no more alarms than that; each peer then its own, in hindsight, at which it raises no more *false* ones
than ours did. So `found` is compared at equal false alarms. Our alarms are ranked in two ways: `ours` by how rare such a
thing is on its series, as the alert budget does (`dispatch/offenders.py`, all files running side by side from one moment),
and `ours_score` by the bare score. An alarm begins after an hour without one (`alarms.py`), and finds the window in which it
begins; the first 15 % of a series, 750 points at most, raise none.

With `--nezha` the CPU shares of its pods are series too, the CPU faults their windows (from 120 s before the onset to 240 s
after it); what begins in its spans to be ignored is neither right nor wrong.

    python benchmarks/recall.py --data NAB [--nezha DIR] [--quick] [--json]
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from benchmarks.alarms import alarms, lowest  # noqa: E402
from benchmarks.fleets import T0, Track, judged  # noqa: E402
from benchmarks.nab import MOST_PROBATION, PROBATION, files  # noqa: E402
from benchmarks.nezha_metrics import cpu_shares  # noqa: E402
from benchmarks.peer.detectors import DETECTORS, detectors  # noqa: E402

from anomaly.detect.anomaly import Event  # noqa: E402
from anomaly.dispatch.forget import HOUR_MS  # noqa: E402
from anomaly.dispatch.offenders import Offenders  # noqa: E402

ABSENT = 3  # exit status: the data is not there
BUDGETS = (10.0, 30.0, 100.0)
WEEK_MS = 604_800_000
REACH, RARELY = 1.33, 0.4  # times the hits of a peer that finds less than such a share of the windows; else no fewer
ABOVE_ZERO = 20.0  # decades, added to a surprise, which may be negative: a score is above 0

Floats = NDArray[np.float64]


class Labelled(NamedTuple):
    """A series: times in ms, values, its faults, and spans in which an alarm is neither right nor wrong."""

    key: str
    time: NDArray[np.int64]
    value: Floats
    windows: Sequence[tuple[int, int]]
    unsure: Sequence[tuple[int, int]] = ()


class Count(NamedTuple):
    """Windows in which an alarm began, alarms outside of any, and all."""

    found: int
    false: int
    raised: int


def within(begun: NDArray[np.int64], spans: Sequence[tuple[int, int]]) -> NDArray[np.bool_]:
    """Which alarms lie in which span, shape (spans, alarms)."""
    edges = np.array(spans, np.int64).reshape(-1, 2)
    return np.asarray((begun >= edges[:, :1]) & (begun <= edges[:, 1:]))


def counted(series: Sequence[Labelled], scores: Sequence[Floats], threshold: float) -> Count:
    """At one threshold for all."""
    found = false = raised = 0
    for one, score in zip(series, scores, strict=True):
        begun = alarms(one.time, score, threshold, min(int(PROBATION * one.time.size), MOST_PROBATION))
        hits = within(begun, one.windows)
        unsure = within(begun, one.unsure).any(axis=0) & ~hits.any(axis=0)
        found += int(hits.any(axis=1).sum())
        false += int((~hits.any(axis=0) & ~unsure).sum())
        raised += int((~unsure).sum())
    return Count(found, false, raised)


def surprises(series: Sequence[Labelled]) -> list[Floats]:
    """Where an episode opens or sets a record, how rare the like is on its series by then, in decades above -ABOVE_ZERO."""
    tracks = (Track(f"{i}", one.time - one.time[0] + T0, one.value) for i, one in enumerate(series))
    fleet = judged("recall", 0, tracks)
    offenders, hour, out = Offenders(), T0 // HOUR_MS, [np.zeros(one.time.size) for one in series]
    for anomaly in fleet.events:
        if (now := anomaly.time // HOUR_MS) > hour:
            offenders.fade(now - hour)
            hour = now
        surprise, i = offenders.meet(anomaly), int(anomaly.group)
        if anomaly.event is not Event.CLOSE:
            at = int(np.searchsorted(series[i].time, anomaly.time - T0 + series[i].time[0]))
            out[i][at] = max(out[i][at], surprise + ABOVE_ZERO)
    return out


def weeks(series: Sequence[Labelled]) -> float:
    """The mean length of a series."""
    return float(np.mean([one.time[-1] - one.time[0] for one in series])) / WEEK_MS


def compared(
    series: Sequence[Labelled], scores: dict[str, Sequence[Floats]], first: str, others: Sequence[str], budget: float
) -> list[dict[str, Any]]:
    """A row of the report for each detector: `first` at the budget, the others at its false alarms."""
    labelled = sum(len(one.windows) for one in series)
    mine = scores[first]
    cut = lowest(lambda t: counted(series, mine, t).raised, mine, budget * weeks(series))
    best = counted(series, mine, cut)
    rows = [{"detector": first, "against": first, **best._asdict(), "ratio": 1.0, "reached": True}]
    for name in others:
        theirs = scores[name]
        cut = lowest(lambda t, theirs=theirs: counted(series, theirs, t).false, theirs, best.false)  # type: ignore[misc]
        count = counted(series, theirs, cut)
        least = REACH * count.found if count.found < RARELY * labelled else count.found
        ratio = round(best.found / count.found, 2) if count.found else None
        rows.append({"detector": name, "against": first, **count._asdict(), "ratio": ratio, "reached": best.found >= least})
    return [{"budget_per_week": budget, "windows": labelled, **row} for row in rows]


def main() -> int:
    """Run, print, and say by the exit status whether there was anything to run on."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with NAB's data/ and labels/")
    parser.add_argument("--nezha", type=Path, help="folder of the Nezha slice")
    parser.add_argument("--peers", nargs="+", choices=list(DETECTORS)[1:], default=list(DETECTORS)[1:])
    parser.add_argument("--budgets", type=float, nargs="+", default=BUDGETS)
    parser.add_argument("--quick", action="store_true", help="every fourth file")
    parser.add_argument("--json", action="store_true", help="last line: a JSON list")
    options = parser.parse_args()
    needed = [options.data / "labels" / "combined_windows.json", *([options.nezha / "labels.csv"] if options.nezha else [])]
    if missing := [path for path in needed if not path.is_file()]:
        print(f"recall: no {missing[0]}: give NAB's folder by --data, Nezha's by --nezha", file=sys.stderr)
        return ABSENT
    series = [Labelled(f.key, f.time, f.value, f.windows) for f in files(options.data)]
    series += [Labelled(*one) for one in cpu_shares(options.nezha)] if options.nezha else []
    # The order of pooled events asks for ascending times; a file that repeats an hour (the end of summer time) is put right.
    series = [one._replace(time=np.maximum.accumulate(one.time)) for one in series][:: 4 if options.quick else 1]
    found = detectors(["ours", *options.peers], series)
    scores: dict[str, Sequence[Floats]] = {name: scored.scores for name, scored in found.items()}
    scores = {"ours": surprises(series), "ours_score": scores.pop("ours"), **scores}
    peers = [name for name in options.peers if name in scores]
    print(f"{len(series)} series of {weeks(series):.1f} weeks, {sum(len(s.windows) for s in series)} windows")
    print(f"{'budget':>7} {'detector':20}{'found':>7}{'false':>7}{'alarms':>8}{'ratio':>7}  reached")
    rows = []
    for first in ("ours", "ours_score"):
        for budget in options.budgets:
            rows += (part := compared(series, scores, first, peers, budget))
            for r in part:
                ratio = "-" if r["ratio"] is None else f"{r['ratio']:.2f}"
                told = "" if r["detector"] == first else "yes" if r["reached"] else "no"
                print(f"{budget:7g} {r['detector']:20}{r['found']:7}{r['false']:7}{r['raised']:8}{ratio:>7}  {told}")
    if options.json:
        print(json.dumps(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
