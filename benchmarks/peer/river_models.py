"""Detectors of one series made of river's parts: (seconds since the epoch, value) in, a score out; scored, then learned.

`Full` does what our default model does for a point, as near as river's parts come: a profile of the day and the week,
means of three memories, spread and roughness, and four statistics, each measured by its own tail (a quantile and the mean
excess over it). `Light` is the Gaussian of a tutorial. `python river_models.py NAME` prints the bytes that a series takes:
growth of the process's memory over SERIES series that have seen every bucket of a week.
"""

import json
import math
import sys
import time as clock
from collections import defaultdict
from datetime import datetime
from pathlib import Path

from river import anomaly, stats

SERIES, FIRST, POINTS = 500, 100, 100
SPACING = 107 * 60  # seconds: a hundred points meet each half-hour of the day and each four hours of the week
DAY, WEEK = 86_400, 604_800
GRACE = 10  # points before anything is said


class Tail:
    """How surprising a statistic is by what it usually is: -log10 of an exponential tail above a high quantile."""

    def __init__(self) -> None:
        self.usual, self.excess = stats.Quantile(0.98), stats.EWMean(0.01)

    def surprise(self, statistic: float) -> float:
        """Score, then learn."""
        usual = self.usual.get() or 0.0
        beyond = statistic - usual
        score = 1.7 + beyond / max(self.excess.get(), 1e-9) / math.log(10) if beyond > 0 else 0.0
        self.usual.update(statistic)
        if beyond > 0:
            self.excess.update(beyond)
        return score


class Full:
    """Season, range, level and sudden change, each by its own tail."""

    def __init__(self) -> None:
        self.day: defaultdict[int, stats.EWMean] = defaultdict(lambda: stats.EWMean(0.3))
        self.week: defaultdict[int, stats.EWMean] = defaultdict(lambda: stats.EWMean(0.3))
        self.slow, self.medium, self.fast = stats.EWMean(0.0005), stats.EWMean(0.005), stats.EWMean(0.02)
        self.spread, self.rough = stats.EWMean(0.005), stats.EWMean(0.005)
        self.low, self.high = stats.Min(), stats.Max()
        self.tails = Tail(), Tail(), Tail(), Tail()
        self.previous, self.seen = math.nan, 0

    def judge(self, time: int, value: float) -> float:
        """The score of a point, which is then learned."""
        at_day, at_week = time % DAY // 1800, time % WEEK // 14_400
        expected = self._expected(at_day, at_week, value)
        day, week = self.day[at_day], self.week[at_week]
        spread, rough = max(self.spread.get(), 1e-9), max(self.rough.get(), 1e-9)
        fast, slow, medium = self.fast.get(), self.slow.get(), self.medium.get()
        low, high = self.low.get(), self.high.get()
        statistics = (
            abs(value - expected) / spread,
            max(fast - high, low - fast, 0.0) / max(high - low, spread),
            abs(medium - slow) / spread,
            abs(value - fast) / rough,
        )
        score = self._surprise(*statistics) if self.seen >= GRACE else 0.0
        self.seen += 1
        for mean in (day, week, self.slow, self.medium, self.fast):
            mean.update(value)
        self.spread.update(abs(value - expected))
        self.low.update(fast)
        self.high.update(fast)
        if not math.isnan(self.previous):
            self.rough.update(abs(value - self.previous))
        self.previous = value
        return score

    def _expected(self, day: int, week: int, value: float) -> float:
        """The nearer of what the day and the week expect; the slow mean where both are new."""
        known = [float(profile[at].get()) for profile, at in ((self.day, day), (self.week, week)) if at in profile]
        return min(known or [float(self.slow.get())], key=lambda expected: abs(value - expected))

    def _surprise(self, season: float, span: float, level: float, sudden: float) -> float:
        """The four as one number, as ours puts them together."""
        statistics = (season, span, level, sudden)
        a, b, c, d = (tail.surprise(statistic) for tail, statistic in zip(self.tails, statistics, strict=True))
        return max((a + 0.7 * b) / math.sqrt(1.49), c, 0.85 * d)


class Light:
    """A running Gaussian."""

    def __init__(self) -> None:
        self.scorer = anomaly.GaussianScorer(window_size=None, grace_period=30)

    def judge(self, time: int, value: float) -> float:
        """The score of a point, which is then learned."""
        score = self.scorer.score_one(None, value)
        self.scorer.learn_one(None, value)
        return float(score)


MODELS: dict[str, type[Full] | type[Light]] = {"full": Full, "light": Light}


class Bench:
    """A model a series, over records as prometheus-kafka-adapter writes them; says when it has seen enough."""

    def __init__(self, name: str, records: int, seconds: float) -> None:
        self.make, self.records, self.seconds = MODELS[name], records, seconds
        self.models: dict[tuple[object, ...], Full | Light] = {}
        self.began = self.cpu = 0.0
        self.seen = 0

    def judge(self, record: dict[str, object]) -> bool:
        """Score and learn a record; whether it was the last one wanted."""
        if not self.seen:
            self.began, self.cpu = clock.perf_counter(), clock.process_time()
        labels = record["labels"]
        assert isinstance(labels, dict)
        key = (record["name"], *sorted(labels.items()))
        model = self.models.get(key)
        if model is None:
            model = self.models[key] = self.make()
        model.judge(int(datetime.fromisoformat(str(record["timestamp"])).timestamp()), float(str(record["value"])))
        self.seen += 1
        return self.seen >= self.records or (self.seen & 255 == 0 and clock.perf_counter() - self.began > self.seconds)

    def result(self) -> str:
        """JSON: points a second of wall and of CPU time, and what it saw."""
        took, cpu = clock.perf_counter() - self.began, clock.process_time() - self.cpu
        return json.dumps({
            "points_per_s": self.seen / took, "points_per_cpu_s": self.seen / cpu,
            "points": self.seen, "series": len(self.models),
        })  # fmt: skip


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def bytes_per_series(name: str) -> float:
    """Growth of memory over SERIES models, after the first few have brought what all share."""
    models, before = [], 0
    for i in range(FIRST + SERIES):
        if i == FIRST:
            before = resident()
        model = MODELS[name]()
        for k in range(POINTS):
            model.judge(1_767_225_600 + k * SPACING, float((i + k) * 7919 % 1000) / 10)
        models.append(model)
    return (resident() - before) / SERIES


if __name__ == "__main__":
    print(bytes_per_series(sys.argv[1]))
