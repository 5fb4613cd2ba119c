"""Generated services, a step of time after the other: what their pods export, as blocks for the engine.

A service is a group: pods with request histograms by status code (cumulative, since the pod's start) and a processor gauge.
Requests follow the day and the week, with a slow wander; latencies are log-logistic, a little longer under load. Pods come
and go: rollouts rename them all (each new one is slow for 90 s), scalings follow the load, a drained zone moves a third of
everything, some services sleep at night, jobs run every quarter of an hour. Faults (`Fault`) change what is served.
All of it is drawn from one generator by a seed; times are ms since the epoch, of event time, and a step is `every` seconds.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from anomaly.config.settings import Settings
from anomaly.decode.block import Announced, Block
from anomaly.decode.identity import Identity
from anomaly.decode.points import Kind, Points

T0 = 1_767_571_200_000  # a Monday, 00:00 UTC
DAY, HOUR = 86_400, 3_600
BOUNDS = np.array([0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0])
MIDDLE = np.array([0.004, *np.sqrt(BOUNDS[:-1] * BOUNDS[1:]), 12.0])  # seconds that a request of each bucket took
METRIC, LOAD, JOBS = "http.server.request.duration", "process.cpu.utilization", "job.rows"
STEEP = 4.0  # of the log-logistic: one request in a hundred takes 3.2 times the median
WARM_UP, COLD = 90.0, 3.0  # seconds for which a new pod is slow, and how slow
QUIET, SLEEPS, JOBBERS = 0.15, 0.05, 0.1  # shares of services with little traffic, without pods at night, with jobs
MOVES = 45  # seconds between two pods of a rollout


@dataclass(slots=True)
class Fault:
    """What goes wrong: `kind` of KINDS, on one service, ms; `size` of it, `share` of the requests that are bad for users."""

    kind: str
    service: int
    start: int
    end: int
    size: float = 0.0
    share: float = 0.0


@dataclass(slots=True)
class Pod:
    """One instance; `version` numbers the rollouts."""

    service: int
    name: str
    born: int
    version: int
    phase: int
    lines: dict[str, int] = field(default_factory=dict)  # label of a series -> its hash


KINDS = ("errors", "few errors", "one pod fails", "slow", "slow tail", "slower and slower", "traffic lost", "traffic gone",
         "dead", "bad version")  # fmt: skip


class Fleet:
    """The services at some time. `renamed` 0: pods keep their names for ever, else seconds after which all are renamed."""

    def __init__(self, services: int, every: int, seed: int, renamed: float = 0.0, churn: bool = True) -> None:
        self.rng, self.every, self.n, self.churn = np.random.default_rng(seed), every, services, churn
        rng = self.rng
        self.rate = np.exp(rng.normal(1.8, 1.2, services)).clip(0.5, 60.0)  # requests a second, the mean of a day
        self.quiet = rng.random(services) < QUIET
        self.rate[self.quiet] = rng.uniform(100.0, 300.0, int(self.quiet.sum())) / HOUR
        self.deep = rng.uniform(0.3, 0.9, services)  # of the day's swing
        self.deep[self.quiet] = 0.95
        self.noon = rng.uniform(11.0, 17.0, services) * HOUR
        self.weekend = rng.uniform(0.4, 1.1, services)
        self.median = np.exp(rng.uniform(np.log(0.015), np.log(0.25), services))
        self.failing = np.exp(rng.uniform(np.log(2e-4), np.log(5e-3), services))
        self.sleeps, self.jobs = rng.random(services) < SLEEPS, rng.random(services) < JOBBERS
        self.wanted = np.where(self.quiet, 2, rng.integers(3, 9, services))
        self.wander = np.zeros(services)
        self.identity, self.time, self.serial = Identity(Settings().identity), T0, 0
        self.pods: list[Pod] = []
        self.versions, self.down = np.ones(services, np.int64), np.zeros(services, np.bool_)
        self.moves: list[tuple[int, int]] = []  # pods to replace: when, of which service
        self.faults: list[Fault] = []
        self.counts = np.zeros((0, 2, BOUNDS.size + 1))
        self.sums = np.zeros((0, 2))
        self.renamed, self.running = renamed, dict[str, int]()
        for service in range(services):
            self._start(service, int(self.wanted[service]))

    def name(self, service: int) -> str:
        """The group's name."""
        return f"service-{service:03d}"

    def usual_rate(self, time: int) -> NDArray[np.float64]:
        """Requests a second that each service would get at `time`, wander left out."""
        at = (time - T0) / 1000.0
        day = 1.0 + self.deep * np.cos((at - self.noon) / DAY * 2.0 * np.pi)
        hour = at / HOUR % 24.0
        awake = min(max(abs(hour - 3.0) - 2.2, 0.0), 1.0)  # who sleeps from 1:00 to 5:00 is asked nothing from 0:48 on
        return self.rate * day * np.where((at // DAY) % 7 >= 5, self.weekend, 1.0) * np.where(self.sleeps, awake, 1.0)

    def roll_out(self, service: int, at_once: bool = False) -> None:
        """Replace every pod, one after the other or (blue/green) in ten seconds."""
        self.versions[service] += 1
        for i in range(self._alive(service)):
            self.moves.append((self.time + (10_000 if at_once else MOVES * 1000 * (i + 1)), service))

    def scale(self, service: int, pods: int) -> None:
        """Have so many pods from now on."""
        self.wanted[service] = pods
        mine = [p for p in self.pods if p.service == service]
        self._start(service, pods - len(mine))
        self._stop(mine[pods:])

    def drain(self) -> None:
        """A zone is drained: a third of the pods move, within five minutes."""
        for pod in self.pods:
            if self.rng.random() < 1 / 3:
                self.moves.append((self.time + int(self.rng.integers(0, 300)) * 1000, pod.service))

    def step(self) -> tuple[Points, list[tuple[int, bytes]]]:
        """Let `every` seconds go by: the points of that time, and the series that are new."""
        if self.churn:
            self._move()
        self.time += self.every * 1000
        self.wander += 0.02 * (self.rng.normal(0.0, 0.5, self.n) - self.wander)
        gained, took = self._served()
        self.counts += gained
        self.sums += took
        return self._export()

    def _alive(self, service: int) -> int:
        return sum(p.service == service for p in self.pods)

    def _start(self, service: int, n: int) -> None:
        for _ in range(max(n, 0)):
            self.serial += 1
            phase = int(self.rng.integers(0, self.every * 1000))
            self.pods.append(
                Pod(service, f"{self.name(service)}-{self.serial:05x}", self.time, int(self.versions[service]), phase)
            )
        if n > 0:
            self.counts = np.concatenate([self.counts, np.zeros((n, 2, BOUNDS.size + 1))])
            self.sums = np.concatenate([self.sums, np.zeros((n, 2))])

    def _stop(self, gone: list[Pod]) -> None:
        if gone:
            names = {p.name for p in gone}
            kept = np.array([p.name not in names for p in self.pods])
            self.pods = [p for p in self.pods if p.name not in names]
            self.counts, self.sums = self.counts[kept], self.sums[kept]

    def _move(self) -> None:
        """Pods of rollouts and drains that are due; sleep, and what every few hours renames all."""
        due = [service for at, service in self.moves if at <= self.time]
        self.moves = [move for move in self.moves if move[0] > self.time]
        for service in due:
            mine = [p for p in self.pods if p.service == service]
            if mine:
                self._stop([min(mine, key=lambda p: p.version * 1_000_000_000 + p.born // 1000 % 1_000_000_000)])
                self._start(service, 1)
        hour = (self.time - T0) / 1000.0 / HOUR % 24.0
        for service in np.flatnonzero(self.sleeps).tolist():
            asleep = 1.0 <= hour < 5.0
            if asleep and self._alive(service):
                self._stop([p for p in self.pods if p.service == service])
            elif not asleep and not self._alive(service) and not self.down[service]:
                self._start(service, int(self.wanted[service]))
        if self.renamed and (self.time - T0) // 1000 % int(self.renamed) < self.every:
            for service in range(self.n):
                self.roll_out(service)

    def _served(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Requests of this step by pod, code and bucket, and the seconds that they took."""
        of = np.array([p.service for p in self.pods])
        share = 1.0 / np.bincount(of, minlength=self.n)[of]
        rate = self.usual_rate(self.time) * np.exp(self.wander)
        busy = rate / (self.rate * 1.9)
        median = (self.median * (1.0 + 0.25 * busy**2))[of]
        rate, failing = (rate * self._burst())[of] * share, self.failing[of].copy()
        age = np.array([(self.time - p.born) / 1000.0 for p in self.pods])
        median = np.where((age <= WARM_UP) & (np.array([p.version for p in self.pods]) > 1), COLD * median, median)
        tail = np.zeros(of.size)
        for fault in self.faults:
            if fault.start < self.time <= fault.end:
                self._apply(fault, of, rate, failing, median, tail)
        odds = (BOUNDS[None, :] / median[:, None]) ** STEEP
        slow = (BOUNDS[None, :] / (8.0 * median[:, None])) ** STEEP
        below = (1.0 - tail[:, None]) * odds / (1.0 + odds) + tail[:, None] * slow / (1.0 + slow)
        edges = np.concatenate([np.zeros((of.size, 1)), below, np.ones((of.size, 1))], axis=1)
        mean = (
            self.every * rate[:, None, None] * np.stack([1.0 - failing, failing], 1)[:, :, None] * np.diff(edges)[:, None, :]
        )
        gained = self.rng.poisson(mean).astype(np.float64)
        return gained, gained @ MIDDLE

    def _burst(self) -> NDArray[np.float64]:
        """Jobs ask a little of their services, every quarter of an hour for a minute."""
        runs = (self.time - T0) // 1000 % 900 < 60
        return np.where(self.jobs & runs, 1.4, 1.0)

    def _apply(
        self, fault: Fault, of: NDArray[np.int64], rate: NDArray[np.float64], failing: NDArray[np.float64],
        median: NDArray[np.float64], tail: NDArray[np.float64],
    ) -> None:  # fmt: skip
        mine = of == fault.service
        one = mine & (np.cumsum(mine) == 1)
        newest = mine & np.array([p.version == self.versions[fault.service] for p in self.pods])
        gone = min((self.time - fault.start) / (0.6 * (fault.end - fault.start)), 1.0)
        whom = {"one pod fails": one, "bad version": newest}.get(fault.kind, mine)
        if fault.kind in ("errors", "few errors", "one pod fails", "bad version"):
            failing[whom] = np.maximum(failing[whom], fault.size)
        if fault.kind == "slow":
            median[whom] *= fault.size
        elif fault.kind == "slower and slower":
            median[whom] *= fault.size**gone
        elif fault.kind == "slow tail":
            tail[whom] = fault.size
        elif fault.kind in ("traffic lost", "traffic gone"):
            rate[whom] *= fault.size

    def _dead(self) -> set[int]:
        return {f.service for f in self.faults if f.kind == "dead" and f.start < self.time <= f.end}

    def _export(self) -> tuple[Points, list[tuple[int, bytes]]]:
        """What each pod says of itself at its moment of the step, in order of time."""
        new: list[tuple[int, bytes]] = []
        dead, entries = self._dead(), []
        for i, pod in enumerate(self.pods):
            if pod.service in dead:
                continue
            for code in (0, 1):
                if code == 0 or self.counts[i, 1].any():
                    entries.append((pod.phase, self._line(pod, ("200", "500")[code], new), i, code))
            entries.append((pod.phase, self._line(pod, LOAD, new), i, 2))
        entries += [(0, self._job(service, new), service, 3) for service in self._due_jobs()]
        entries.sort()
        return self._columns(entries), new

    def _due_jobs(self) -> list[int]:
        """Services whose job runs now: for a minute, every quarter of an hour."""
        return np.flatnonzero(self.jobs).tolist() if (self.time - T0) // 1000 % 900 < 60 else []

    def _columns(self, entries: list[tuple[int, int, int, int]]) -> Points:
        n = len(entries)
        points = Points.empty(n, sum(e[3] < 2 for e in entries) * (BOUNDS.size + 1))
        phase, which, what = (np.array([e[i] for e in entries], np.int64) for i in (0, 2, 3))
        points.series[:] = np.array([e[1] for e in entries], np.uint64)
        points.time[:] = self.time + phase
        histogram = what < 2
        born = np.array([p.born for p in self.pods], np.int64)
        pod, code = which[histogram], what[histogram]
        points.kind[:] = np.where(histogram, int(Kind.HISTOGRAM), int(Kind.GAUGE))
        points.start[histogram] = born[pod]
        points.value[histogram] = self.sums[pod, code]
        points.count[histogram] = self.counts[pod, code].sum(axis=1)
        points.buckets[:] = self.counts[pod, code].ravel()
        points.bucket_len[histogram] = BOUNDS.size + 1
        points.bucket_at[histogram] = np.arange(pod.size) * (BOUNDS.size + 1)
        gauges = ~histogram
        points.value[gauges] = np.clip(0.3 + self.rng.normal(0.0, 0.04, int(gauges.sum())), 0.0, 1.0)
        return points

    def _line(self, pod: Pod, what: str, new: list[tuple[int, bytes]]) -> int:
        if what not in pod.lines:
            labels = {"deployment.environment.name": "prod", "service.name": self.name(pod.service),
                      "service.version": str(pod.version), "k8s.pod.name": pod.name}  # fmt: skip
            if what == LOAD:
                placed = self.identity.placed(LOAD, "1", labels, Kind.GAUGE)
            else:
                labels |= {"http.response.status_code": what, "http.route": "/"}
                placed = self.identity.placed(METRIC, "s", labels, Kind.HISTOGRAM, tuple(BOUNDS.tolist()))
            pod.lines[what] = placed.hash
            new.append((placed.hash, placed.text))
        return pod.lines[what]

    def _job(self, service: int, new: list[tuple[int, bytes]]) -> int:
        run = f"job-{service:03d}-{(self.time - T0) // 900_000}"
        if run not in self.running:
            labels = {"deployment.environment.name": "prod", "service.name": f"job-{service:03d}", "k8s.pod.name": run}
            placed = self.identity.placed(JOBS, "{row}", labels, Kind.GAUGE)
            self.running = {run: placed.hash} | self.running
            new.append((placed.hash, placed.text))
        return self.running[run]


def blocks(fleet: Fleet, until: int, at_once: int, before: Callable[[Fleet], None]) -> Iterator[Block]:
    """The fleet's blocks up to a time, of `at_once` steps each; `before` plans what happens at each step."""
    parts: list[Points] = []
    new: list[tuple[int, bytes]] = []
    while fleet.time < until:
        before(fleet)
        points, fresh = fleet.step()
        parts.append(points)
        new += fresh
        if len(parts) == at_once or fleet.time >= until:
            said = Announced(np.array([h for h, _ in new], np.uint64), [t for _, t in new])
            whole = Points.joined(parts)
            yield Block("metrics", 0, 0, 0, int(whole.time.max(initial=fleet.time)), 10_000, whole, said)
            parts, new = [], []
