"""Detectors of one series, ours and its peers, behind one call: series in, a score a point out, higher is odder, causal.

ours                 the shipped default model; a point speaks where an episode opens or sets a new record, else 0
half_space_trees     river's, behind its MinMaxScaler as its documentation shows it: 10 trees of height 8, windows of 250
random_cut_forest    the Java core's defaults: 50 trees of 256 points; shingles of 8
holt_winters         additive, daily season, no trend of its own to speak of, and a seasonal deviation: RRDtool's HWPREDICT
                     with the constants of its manual (alpha 0.1, beta 0.0035, gamma 0.1); the score is deviations away, none
                     taken for smaller than half of what is usual (chosen on NAB, in its favour: without, 2.6 of 100)
                     Source: J. Brutlag, "Aberrant behavior detection in time series for network monitoring" (LISA 2000)
ewma                 |x - mean| over the deviation, both of a half-life of 100 points; 3 is the 3 sigma of a tutorial
                     Source: T. Finch, "Incremental calculation of weighted mean and variance" (2009), section 9
chance               an alarm every 300 points

All score a point before they learn it. Times are int64 ms, values float64, scores float64 of the same shape, 0: not known.
`Scored.seconds` is CPU time of one core without compiling (Java's collector included).
Kind to the peers: they get the step of the series from the whole of it, and their scores any threshold in hindsight.
"""

import subprocess
import tempfile
import time as clock
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from benchmarks.nab import default_spec
from numpy.typing import NDArray
from river import anomaly, preprocessing

from anomaly.compiled import bare
from anomaly.detect.bank import Bank
from anomaly.detect.episodes import CLOSED, Episodes
from anomaly.detect.walk import walk

PEER = Path(__file__).parent
JARS = PEER.parents[1] / ".cache" / "peers-java"
FOREST = ("50", "256", "8")  # trees, points a tree, shingle
DAY_MS = 86_400_000
EWMA_GAIN, EWMA_GRACE = 1.0 - 0.5**0.01, 30  # half-life of 100 points; points before anything is said
CHANCE = 300
SPEC = default_spec()

Floats = NDArray[np.float64]


class Series(Protocol):
    """Times in ms, ascending, and values."""

    @property
    def time(self) -> NDArray[np.int64]: ...
    @property
    def value(self) -> Floats: ...


class Scored(NamedTuple):
    """The scores of each series, and the CPU time that all took."""

    scores: list[Floats]
    seconds: float


class Absent(Exception):
    """A peer that cannot run here; the message says why."""


def timed(judge: Callable[[Series], Floats], series: Sequence[Series]) -> Scored:
    """One after the other, after a first one that compiles."""
    judge(min(series, key=lambda one: one.time.size))
    began = clock.process_time()
    scores = [judge(one) for one in series]
    return Scored(scores, clock.process_time() - began)


def ours(one: Series) -> Floats:
    """Per point, what its episode says there."""
    spec = SPEC
    bank, episodes = Bank(), Episodes([spec])
    bank.ensure(1)
    episodes.ensure(1)
    zeros = np.zeros(one.time.size, np.int64)
    _, events = walk(bank, episodes, zeros, one.time, one.value, np.full(zeros.size, spec.season), zeros, zeros)
    out, speaks = np.zeros(zeros.size), events.event != CLOSED
    out[events.index[speaks]] = events.score[speaks]
    return out


def half_space_trees(one: Series) -> Floats:
    """river's, a feature: the value."""
    scaler, trees = preprocessing.MinMaxScaler(), anomaly.HalfSpaceTrees(seed=42)
    out = np.empty(one.value.size)
    for i, value in enumerate(one.value.tolist()):
        x = {"value": value}
        scaler.learn_one(x)
        scaled = scaler.transform_one(x)
        out[i] = trees.score_one(scaled)
        trees.learn_one(scaled)
    return out


def random_cut_forest(series: Sequence[Series]) -> Scored:
    """By the Java program, all series in one process."""
    jars = list(JARS.glob("randomcutforest-core-*.jar"))
    if not jars:
        raise Absent(f"no randomcutforest-core jar in {JARS}: benchmarks/peers.py fetches it")
    with tempfile.TemporaryDirectory() as folder:
        into, out = Path(folder, "in"), Path(folder, "out")
        with into.open("wb") as target:
            for one in series:
                target.write(np.array(one.value.size, ">i4").tobytes() + one.value.astype(">f8").tobytes())
        command = ["java", "-XX:+UseSerialGC", "-cp", str(jars[0]), str(PEER / "Scores.java"), str(into), str(out), *FOREST]
        try:
            ran = subprocess.run(command, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise Absent(str(getattr(error, "stderr", None) or error)[:200]) from error
        flat = np.frombuffer(out.read_bytes(), ">f8").astype(np.float64)
    ends = np.cumsum([one.value.size for one in series])[:-1]
    return Scored([*np.split(flat, ends)], float(ran.stdout.split()[-1]))


def floats(found: object) -> Floats:
    """What a compiled function gave, as what it is."""
    return np.asarray(found, np.float64)


@bare
def _holt_winters(bucket, value, season, spread, out):  # type: ignore[no-untyped-def]
    """Level, trend, and by bucket (NaN: not visited) a season and a deviation; a bucket's first visit scores 0."""
    level, trend, usual = value[0], 0.0, 0.0
    for i in range(value.size):
        b, x = bucket[i], value[i]
        known = not np.isnan(season[b])
        before = season[b] if known else 0.0
        gap = abs(x - (level + trend + before))
        if known:
            deviation = max(spread[b], 0.5 * usual, 1e-9)
            out[i] = gap / deviation
            spread[b] += 0.1 * (gap - spread[b])
            next_level = 0.1 * (x - before) + 0.9 * (level + trend)
            trend = 0.0035 * (next_level - level) + 0.9965 * trend
            level = next_level
            season[b] = 0.1 * (x - level) + 0.9 * before
        else:
            level += 0.1 * (x - level)
            season[b] = x - level
            spread[b] = max(usual, gap)
        usual += (gap - usual) * max(0.01, 1.0 / (i + 1))
    return out


def holt_winters(one: Series) -> Floats:
    """A bucket of the day for each step of the series."""
    step = max(int(np.median(np.diff(one.time))), 1)
    buckets = max(DAY_MS // step, 1)
    bucket = (one.time % DAY_MS // step) % buckets
    profile = np.full(buckets, np.nan)
    return floats(_holt_winters(bucket, one.value, profile, profile.copy(), np.zeros(one.value.size)))


@bare
def _ewma(value, gain, grace, out):  # type: ignore[no-untyped-def]
    """Mean and variance with exponential forgetting, plain averages while young."""
    mean, variance = value[0], 0.0
    for i in range(1, value.size):
        gap = value[i] - mean
        if i >= grace:
            out[i] = abs(gap) / np.sqrt(variance + 1e-18 + 1e-12 * mean * mean)
        weight = max(gain, 1.0 / (i + 1))
        mean += weight * gap
        variance = (1.0 - weight) * (variance + weight * gap * gap)
    return out


def ewma(one: Series) -> Floats:
    """Standard deviations from a moving mean."""
    return floats(_ewma(one.value, EWMA_GAIN, EWMA_GRACE, np.zeros(one.value.size)))


def chance(one: Series) -> Floats:
    """Knows nothing of the values."""
    return np.where(np.arange(one.value.size) % CHANCE == 0, 1.0, 0.0)


def each(judge: Callable[[Series], Floats]) -> Callable[[Sequence[Series]], Scored]:
    """A detector of one series as one of many."""
    return lambda series: timed(judge, series)


DETECTORS: dict[str, Callable[[Sequence[Series]], Scored]] = {
    "ours": each(ours),
    "half_space_trees": each(half_space_trees),
    "random_cut_forest": random_cut_forest,
    "holt_winters": each(holt_winters),
    "ewma": each(ewma),
    "chance": each(chance),
}


def detectors(names: Sequence[str], series: Sequence[Series]) -> dict[str, Scored]:
    """What each says of all series; one that cannot run here is said to be missing, and left out."""
    found = {}
    for name in names:
        try:
            found[name] = DETECTORS[name](series)
        except Absent as why:
            print(f"{name}: skipped: {why}", flush=True)
    return found
