"""Are the pages worth it: generated services that live as services do, faults that users feel, and what is paged.

Some fault-free days are learned; then a healthy busy day (rollouts, scalings, jobs, a drained zone, a service in announced
maintenance) that must page nobody; then days with faults of ten kinds. What goes through is `Engine.judge`: detect,
correlate, dispatch, as shipped; columns are made here, so nothing is decoded. A page is an alert's first word at `critical`.
It is true if its service has a fault then (or had until GRACE ago). Statistics and levels only: no SLO, nobody's rule.

Lead: how long before the service's SLO (99.9 % of a month's requests) would be broken, if the fault went on, the page came.

    python benchmarks/services.py --services 40 --learn 2 --days 3 --json

Pages of the service in maintenance are left out on the busy day: whoever announces it mutes them.
With `--renamed 3h` (or `--renamed 0s`, whose pods keep their names for ever) the same is done under other churn.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import numpy as np  # noqa: E402
from benchmarks.services_fleet import DAY, HOUR, KINDS, STEEP, T0, Fault, Fleet, blocks  # noqa: E402

from anomaly.config.duration import seconds  # noqa: E402
from anomaly.config.load import load_specs  # noqa: E402
from anomaly.config.settings import Settings, Threshold  # noqa: E402
from anomaly.dispatch.alert import Alert, Severity  # noqa: E402
from anomaly.engine import Engine  # noqa: E402

GRACE = 600_000  # ms after a fault in which a page is still about it: a cell and its wait, and what piled up
APART = 3 * HOUR  # seconds between two faults of a service
FELT = 30.0  # requests that a fault must touch in its first quarter of an hour, or nobody would feel it
SLO, MONTH = 0.001, 30 * DAY
BUSY = {"rollouts": 60, "scalings": 300}  # of 400 services; jobs run by themselves, 96 a day and service that has them


@dataclass(slots=True)
class Page:
    """A page: when, about whom, by which row of the table, and what it says."""

    time: int
    service: str
    why: str
    title: str


def bad_share(kind: str, size: float, pods: int) -> float:
    """The share of requests that the fault makes bad: failed, lost, or slower than four times the median."""
    slow: dict[float, float] = {times: times**STEEP / (times**STEEP + 4.0**STEEP) for times in (size, 8.0)}
    return {
        "errors": size, "few errors": size, "one pod fails": size / pods, "bad version": size / 3.0, "dead": 1.0,
        "slow": slow[size], "slow tail": size * slow[8.0], "slower and slower": slow[size],
        "traffic lost": 1.0 - size, "traffic gone": 1.0,
    }[kind]  # fmt: skip


SIZES = {"errors": (0.15, 0.5), "few errors": (0.02, 0.04), "one pod fails": (0.9, 1.0), "slow": (2.5, 6.0),
         "slow tail": (0.08, 0.2), "slower and slower": (3.0, 6.0), "traffic lost": (0.05, 0.2), "traffic gone": (0.0, 0.0),
         "dead": (0.0, 0.0), "bad version": (0.15, 0.5)}  # fmt: skip


def plan(fleet: Fleet, n: int, first: int, last: int, seed: int) -> list[Fault]:
    """Faults of all kinds in turn, between two times in ms, where users feel them."""
    rng, found = np.random.default_rng(seed + 1), list[Fault]()
    for i in range(n):
        kind = KINDS[i % len(KINDS)]
        low, high = SIZES[kind]
        for _ in range(10_000):
            service, start = int(rng.integers(fleet.n)), int(rng.integers(first + HOUR * 1000, last - 2 * HOUR * 1000))
            size, length = float(rng.uniform(low, high)), int(rng.integers(1_200, 3_600)) * 1000
            share = bad_share(kind, size, max(int(fleet.wanted[service]), 1))
            felt = fleet.usual_rate(start)[service] * 900.0 * share >= FELT
            free = all(f.service != service or abs(f.start - start) > APART * 1000 for f in found)
            awake = not fleet.sleeps[service] or 6.0 <= (start - T0) / 3.6e6 % 24.0 <= 22.0
            if felt and free and awake:
                found.append(Fault(kind, service, start, start + length, size, share))
                break
    return sorted(found, key=lambda f: f.start)


class Life:
    """What happens to the services besides faults: `busy` is the first ms of the busy day."""

    def __init__(self, fleet: Fleet, busy: int, seed: int) -> None:
        self.rng, self.busy = np.random.default_rng(seed + 2), busy
        self.ill = int(np.flatnonzero(~fleet.sleeps & ~fleet.quiet)[0])  # in maintenance on the busy day
        self.done: Counter[str] = Counter()
        self._rolling: set[tuple[int, int]] = set()  # service and start of faults whose bad version is out

    def __call__(self, fleet: Fleet) -> None:
        """Plan what begins with the next step."""
        busy = self.busy <= fleet.time < self.busy + DAY * 1000
        if busy:
            self._busy(fleet)
        for fault in fleet.faults:
            if fault.kind == "bad version":
                self._bad_version(fleet, fault)
        if not fleet.churn or fleet.renamed:
            return
        per_day = BUSY if busy else {"rollouts": 200, "scalings": 100}
        for what, count in per_day.items():
            for _ in range(self.rng.poisson(count * fleet.n / 400.0 * fleet.every / DAY)):
                self._one(fleet, what, int(self.rng.integers(fleet.n)))

    def _one(self, fleet: Fleet, what: str, service: int) -> None:
        if any(f.service == service and f.start - 300_000 < fleet.time < f.end + 300_000 for f in fleet.faults):
            return
        if fleet.down[service] or not any(p.service == service for p in fleet.pods):
            return
        self.done[what] += 1
        if what == "rollouts":
            fleet.roll_out(service, at_once=self.rng.random() < 0.2)
        else:
            fleet.scale(service, int(self.rng.integers(2, 21)))

    def _busy(self, fleet: Fleet) -> None:
        at = (fleet.time - self.busy) // 1000
        if at // fleet.every == 10 * HOUR // fleet.every:
            fleet.drain()
        if 14 * HOUR <= at < 16 * HOUR and not fleet.down[self.ill]:
            fleet.down[self.ill] = True
            fleet.scale(self.ill, 0)
        elif at >= 16 * HOUR and fleet.down[self.ill]:
            fleet.down[self.ill] = False
            fleet.scale(self.ill, 4)

    def _bad_version(self, fleet: Fleet, fault: Fault) -> None:
        """A third of the pods get a version that is bad, and lose it again."""
        service, inside, which = fault.service, fault.start <= fleet.time < fault.end, (fault.service, fault.start)
        if inside != (which in self._rolling):
            self._rolling ^= {which}
            mine = sum(p.service == service for p in fleet.pods)
            fleet.versions[service] += 1
            fleet.moves += [(fleet.time, service)] * max(mine // 3, 1)


def run(options: argparse.Namespace, said: Callable[[str], None]) -> dict[str, Any]:
    """Everything, as the figures that the issue names and some more."""
    fleet = Fleet(options.services, options.every, options.seed, options.renamed or 0.0, options.renamed != 0.0)
    busy = T0 + options.learn * DAY * 1000
    first, last = busy + DAY * 1000, busy + (1 + options.days) * DAY * 1000
    fleet.faults = plan(fleet, options.faults, first, last, options.seed)
    settings = Settings(threshold=Threshold(alert=options.threshold), alert_budget={"default": options.budget})
    engine = Engine(settings, load_specs([]))
    life, pages, tickets, points, spent = Life(fleet, busy, options.seed), list[Page](), 0, 0, 0.0
    paged: set[str] = set()
    day = T0 // 86_400_000
    for block in blocks(fleet, last, options.at_once, life):
        began = time.process_time()
        alerts = [alert for _, alert in engine.judge([(0, block)]) if alert]
        spent += time.process_time() - began
        points += len(block.points)
        if fleet.time // 86_400_000 > day:  # it takes minutes, and is not to be taken for dead
            day = fleet.time // 86_400_000
            print(f"{when(fleet.time)} {points:,} points, {len(pages)} pages", file=sys.stderr, flush=True)
        tickets += sum(a.severity is not Severity.CRITICAL and a.event.value == "trigger" for a in alerts)
        for alert in alerts:
            if alert.severity is Severity.CRITICAL and alert.dedup_key not in paged:
                paged.add(alert.dedup_key)
                pages.append(page(alert))
    for each in pages if options.verbose else ():
        said(f"{when(each.time)} {each.service} {truth(each, fleet)[:18]:18} {each.title} [{each.why}]")
    out = figures(fleet, pages, life, (busy, first))
    return out | {"tickets": tickets, "points": points, "points_per_cpu_s": round(points / spent)} | dict(life.done)


def page(alert: Alert) -> Page:
    """The alert as a page."""
    return Page(round(datetime.fromisoformat(alert.time).timestamp() * 1000), alert.group, alert.why, alert.title)


def when(ms: int) -> str:
    """Day and time of the run."""
    return f"{(ms - T0) // 86_400_000}d {(ms - T0) / 3.6e6 % 24:05.2f}h"


def truth(page: Page, fleet: Fleet) -> str:
    """The fault that a page is about; nothing for a false one."""
    mine = (f for f in fleet.faults if fleet.name(f.service) == page.service and f.start <= page.time <= f.end + GRACE)
    return next((f.kind for f in mine), "")


def figures(fleet: Fleet, pages: list[Page], life: Life, days: tuple[int, int]) -> dict[str, Any]:
    """What was paged of what went wrong."""
    busy, first = days
    delays, leads, found = list[float](), list[float](), Counter[str]()
    for fault in fleet.faults:
        mine = [
            p.time for p in pages if p.service == fleet.name(fault.service) and fault.start <= p.time <= fault.end + GRACE
        ]
        if mine:
            found[fault.kind] += 1
            delays.append((mine[0] - fault.start) / 1000.0)
            burning = fault.share * fleet.usual_rate(fault.start)[fault.service]
            leads.append(SLO * MONTH * fleet.rate[fault.service] / burning - delays[-1])
    counted = [p for p in pages if p.time >= first]
    healthy = [p for p in pages if busy <= p.time < first and p.service != fleet.name(life.ill)]
    wrong = Counter(p.why.split(" above")[0].split(" (")[0] for p in counted + healthy if not truth(p, fleet))
    return {
        "faults": len(fleet.faults), "paged": sum(found.values()), "pages": len(counted),
        "true_pages": sum(bool(truth(p, fleet)) for p in counted), "healthy_day_pages": len(healthy),
        "median_delay_s": round(float(np.median(delays)), 1) if delays else None,
        "median_lead_s": round(float(np.median(leads)), 1) if leads else None,
        "learning_pages": sum(p.time < busy for p in pages),
        "found": {k: f"{found[k]}/{sum(f.kind == k for f in fleet.faults)}" for k in KINDS}, "false_by": dict(wrong),
    }  # fmt: skip


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--services", type=int, default=40)
    parser.add_argument("--learn", type=int, default=2, help="fault-free days before the busy one")
    parser.add_argument("--days", type=int, default=3, help="days with faults")
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--every", type=int, default=30, help="seconds between exports")
    parser.add_argument("--at-once", type=int, default=10, help="exports in a block")
    parser.add_argument("--budget", type=float, default=100.0, help="statistical pages a week")
    parser.add_argument("--threshold", type=float, default=Threshold().alert)
    parser.add_argument(
        "--renamed", type=seconds, default=None, help="all pods get new names every so often; 0s: never, and no churn"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--verbose", action="store_true", help="list the pages")
    parser.add_argument("--json", action="store_true", help="last line: one JSON object")
    options = parser.parse_args()
    report = run(options, print)
    for name, value in report.items():
        print(f"{name:20} {value}")
    if options.json:
        print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
