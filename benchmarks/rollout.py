"""A bad rollout: is it found, named and over; and do good rollouts stay quiet?

A shop is generated: `web` calls `checkout`, `checkout` calls `payment`, each 200 requests a second by thirty instances, as
OTLP spans (sampled, one in SAMPLED) and as metrics (http.server.request.duration of every instance, each five seconds).
After a time of learning payment's v2 comes to 3 of 30 instances, as new pods: 4 % of its requests fail instead of 0.1 %,
p99 is 900 ms instead of 300; callers fail and wait with it. After LASTS it is rolled back. Good rollouts bring a version to
all thirty pods, one each MOVES; new ones are slow for 90 s (as in `services_fleet`), and that is all. What goes through is
`Engine.process`: bytes in, alerts out, as shipped.

    python benchmarks/rollout.py --good 20 --json
    python benchmarks/rollout.py --good 20 --temporality delta

Triggers are those after the first pod of v2. `named_service`, `named_version`, `victims`: what they and their updates within
WITHIN say, in title, causes, changes or impact. `resolved_after_s`: from the rollback until all of them are resolved.
`false`: triggers before v2 and of good rollouts, of any severity that is sent (`info` is not).
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import numpy as np  # noqa: E402
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest  # noqa: E402
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest  # noqa: E402

from anomaly.config.load import load_specs  # noqa: E402
from anomaly.config.settings import Settings, SourceSettings  # noqa: E402
from anomaly.decode.records import Records  # noqa: E402
from anomaly.dispatch.alert import Alert, Severity, What, encode  # noqa: E402
from anomaly.engine import Engine  # noqa: E402

BEGIN, CELL = 1_767_571_200, 5  # seconds since the epoch; seconds between two exports
RATE, PODS, BAD_PODS = 200, 30, 3  # requests a second
SAMPLED = 10  # of so many traces one is sampled
LEARN, LASTS, AFTER, EVERY = 1_800, 600, 600, 1_800  # seconds; EVERY between two good rollouts
WITHIN = 120  # seconds in which it is to be found
WARM, COLD, MOVES = 90, 3.0, 45  # seconds for which a new pod is slow, how slow, and seconds between two pods
SERVICES = ("web", "checkout", "payment")
ILL = "payment"
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0)
SPREAD = np.log(300.0 / 60.0) / 2.326  # lognormal with median 60 ms and p99 300 ms
METRICS = SourceSettings(topic="metrics", encoding="otlp_proto")
SPANS = SourceSettings(topic="spans", encoding="otlp_spans_proto")


@dataclass(slots=True)
class Pod:
    """An instance of a service: its name, version and since when it is there; `ill`: it has the fault."""

    name: str
    version: str
    since: int
    ill: bool = False
    totals: dict[str, tuple[Any, float]] = field(default_factory=dict)

    def total(self, code: str, took: Any, delta: bool) -> tuple[Any, float]:
        """Bucket counts and sum of all requests with this status, these included, or of these alone."""
        none = np.zeros(len(BOUNDS) + 1, np.int64), 0.0
        counts, whole = none if delta else self.totals.get(code, none)
        more = np.bincount(np.searchsorted(BOUNDS, took), minlength=len(BOUNDS) + 1)
        self.totals[code] = counts + more, whole + float(took.sum())
        return self.totals[code]


@dataclass
class Shop:
    """The instances of all services, and what was sent."""

    seed: int
    delta: bool = False  # temporality of its metrics
    pods: dict[str, list[Pod]] = field(default_factory=dict)
    born: int = 0

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)
        self.pods = {s: [self.pod(s, "2.3.0", -WARM) for _ in range(PODS)] for s in SERVICES}

    def pod(self, service: str, version: str, since: int, ill: bool = False) -> Pod:
        """A new instance."""
        self.born += 1
        return Pod(f"{service}-{version.replace('.', '')}-{self.born:05d}", version, since, ill)

    def replace(self, service: str, which: range, version: str, now: int, ill: bool = False) -> None:
        """Pods of a service make way for new ones."""
        for i in which:
            self.pods[service][i] = self.pod(service, version, now, ill)

    def cell(self, t: int) -> tuple[list[bytes], list[bytes]]:
        """The records of metrics and of spans that tell of the cell that ends at `t`."""
        n, random = RATE * CELL, self.random
        at = {s: random.integers(0, PODS, n) for s in SERVICES}
        ill = np.array([p.ill for p in self.pods[ILL]])[at[ILL]]
        failed = random.random(n) < np.where(ill, 0.04, 0.001)
        own = {s: random.lognormal(np.log(0.06), SPREAD, n) * (1.0 if s == ILL else 0.3) for s in SERVICES}
        own[ILL] = own[ILL] * np.where(ill, 3.0, 1.0)
        for s in SERVICES:
            young = np.array([t - p.since <= WARM for p in self.pods[s]])[at[s]]
            own[s] = own[s] * np.where(young, COLD, 1.0)
        took = {ILL: own[ILL]}
        took["checkout"] = own["checkout"] + took[ILL]
        took["web"] = own["web"] + took["checkout"]
        metrics = [self.metric(s, t, at[s], took[s], failed) for s in SERVICES]
        return metrics, self.spans(t, at, took, failed)

    def metric(self, service: str, t: int, at: Any, took: Any, failed: Any) -> bytes:
        """http.server.request.duration of every instance by status, as SDKs write it; a delta of nothing is not said."""
        request = ExportMetricsServiceRequest()
        for i, pod in enumerate(self.pods[service]):
            made = request.resource_metrics.add()
            describe(made.resource, service, pod)
            data = made.scope_metrics.add().metrics.add(name="http.server.request.duration", unit="s").histogram
            data.aggregation_temporality = 1 if self.delta else 2
            for bad, code in ((False, "200"), (True, "500")):
                total = pod.total(code, took[(at == i) & (failed == bad)], self.delta)
                if not total[0].any():
                    continue
                point = data.data_points.add(
                    count=int(total[0].sum()), sum=total[1], bucket_counts=total[0].tolist(), explicit_bounds=BOUNDS,
                    start_time_unix_nano=nanos(t - CELL if self.delta else pod.since), time_unix_nano=nanos(t),
                )  # fmt: skip
                point.attributes.add(key="http.response.status_code").value.string_value = code
        return request.SerializeToString()

    def spans(self, t: int, at: Any, took: Any, failed: Any) -> list[bytes]:
        """Sampled traces: a record for each service, the callee's first."""
        requests = {s: ExportTraceServiceRequest() for s in SERVICES}
        scopes: dict[tuple[str, int], Any] = {}
        for k in range(0, RATE * CELL, SAMPLED):
            trace = int(self.random.integers(1, 1 << 62)).to_bytes(16, "big")
            begin = nanos(t - CELL) + k * (CELL * 10**9 // (RATE * CELL))
            parent = b""
            for depth, service in enumerate(SERVICES):
                i = int(at[service][k])
                if (service, i) not in scopes:
                    made = requests[service].resource_spans.add()
                    describe(made.resource, service, self.pods[service][i])
                    scopes[service, i] = made.scope_spans.add()
                start, lasts = begin + depth * 2_000_000, int(took[service][k] * 1e9)
                own = (2 * depth + 1).to_bytes(8, "big")
                self.span(scopes[service, i], (trace, own, parent), f"POST /{service}", 2, start, lasts, bool(failed[k]))
                if depth + 1 < len(SERVICES):
                    callee = SERVICES[depth + 1]
                    parent = (2 * depth + 2).to_bytes(8, "big")
                    waits = int(took[callee][k] * 1e9) + 1_000_000
                    ids = trace, parent, own
                    self.span(scopes[service, i], ids, f"POST /{callee}", 3, start + 1_000_000, waits, bool(failed[k]))
        return [requests[s].SerializeToString() for s in reversed(SERVICES)]

    def span(
        self, scope: Any, ids: tuple[bytes, bytes, bytes], name: str, kind: int, start: int, took: int, bad: bool
    ) -> None:
        """One span."""
        trace, own, parent = ids
        made = scope.spans.add(trace_id=trace, span_id=own, parent_span_id=parent, name=name, kind=kind)
        made.start_time_unix_nano, made.end_time_unix_nano, made.status.code = start, start + took, 2 * bad


def describe(resource: Any, service: str, pod: Pod) -> None:
    """Resource attributes as an SDK and the k8sattributes processor give them."""
    number = int(pod.name.rpartition("-")[2])
    said = {"service.name": service, "service.version": pod.version, "k8s.pod.name": pod.name,
            "k8s.node.name": f"node-{number % 7}", "k8s.deployment.name": service}  # fmt: skip
    for key, value in said.items():
        resource.attributes.add(key=key).value.string_value = value


def nanos(t: int) -> int:
    """Of seconds since the beginning."""
    return (BEGIN + t) * 10**9


class Said(NamedTuple):
    """An alert and when it came, in seconds since the beginning."""

    at: int
    alert: Alert


class Live:
    """A shop that an engine watches."""

    def __init__(self, seed: int, delta: bool) -> None:
        self.shop, self.engine = Shop(seed, delta), Engine(Settings(), load_specs())
        self.now, self.offset, self.said = 0, 0, list[Said]()

    def run(self, seconds: int) -> None:
        """Time passes."""
        for now in range(self.now + CELL, self.now + seconds + 1, CELL):
            self.now = now
            metrics, spans = self.shop.cell(self.now)
            for source, values in ((SPANS, spans), (METRICS, metrics)):
                records = Records.of(values, source.topic, 0, self.offset, time=(BEGIN + self.now + 1) * 1000)
                alerts, dead = self.engine.process(source, records)
                assert not dead, dead[0]
                self.said += [Said(self.now, a) for a in alerts]
            self.offset += len(SERVICES)

    def since(self, t: int) -> list[Said]:
        """What was said from then on to people: `info` is only recorded."""
        return [s for s in self.said if s.at >= t and s.alert.severity is not Severity.INFO]


def bad(seed: int, delta: bool, verbose: bool) -> dict[str, object]:
    """One bad rollout and its rollback."""
    live = Live(seed, delta)
    live.run(LEARN)
    live.shop.replace(ILL, range(BAD_PODS), "2.3.1", live.now, ill=True)
    onset = live.now
    live.run(LASTS)
    live.shop.replace(ILL, range(BAD_PODS), "2.3.0", live.now)
    rolled_back = live.now
    live.run(AFTER)
    said = live.since(0)
    triggers = [s for s in said if s.alert.event is What.TRIGGER and s.at > onset]
    early = [s for s in said if s.at > onset and s.at <= onset + WITHIN and s.alert.event is not What.RESOLVE]
    texts = [encode(s.alert).decode() for s in early]
    resolved = [s.at for s in said if s.alert.event is What.RESOLVE and s.at > rolled_back]
    is_over = len({s.alert.dedup_key for s in triggers}) == len(
        {s.alert.dedup_key for s in said if s.alert.event is What.RESOLVE}
    )
    if verbose:
        for s in said:
            print(
                f"{s.at - onset:6d} s", *(f"{w:8s}" for w in (s.alert.event, s.alert.severity, s.alert.group)), s.alert.title
            )
            for cause in s.alert.causes:
                print(f"            cause: {cause}"[:220])
            if s.alert.changes or s.alert.impact.get("victims"):
                print(f"            changes {s.alert.changes} victims {s.alert.impact.get('victims')}"[:220])
    victims = sorted({str(v) for s in early for v in s.alert.impact.get("victims", [])})  # type: ignore[attr-defined]
    return {
        "triggers": len(triggers),
        "delay_s": triggers[0].at - onset if triggers else None,
        "named_service": bool(triggers) and any(s.alert.group == ILL or ILL in str(s.alert.causes[:1]) for s in early),
        "named_version": any("2.3.1" in text for text in texts),
        "victims": victims,
        "resolved_after_s": max(resolved) - rolled_back if resolved and is_over else None,
        "before": len([s for s in said if s.at <= onset and s.alert.event is What.TRIGGER]),
    }


def good(seed: int, many: int, delta: bool, verbose: bool) -> dict[str, int]:
    """Good rollouts one after the other."""
    live = Live(seed, delta)
    live.run(LEARN)
    for k in range(many):
        begin, version = live.now, f"2.4.{k}"
        for i in range(PODS):
            live.shop.replace(ILL, range(i, i + 1), version, live.now)
            live.run(MOVES)
        live.run(EVERY - (live.now - begin))
    triggers = [s for s in live.since(0) if s.alert.event is What.TRIGGER]
    if verbose:
        for s in triggers:
            print(f"good rollouts, {s.at} s: {s.alert.severity.value} {s.alert.group} {s.alert.title}")
    return {"good_rollouts": many, "false": len(triggers)}


def lines(found: dict[str, object]) -> Iterator[str]:
    """A table."""
    return (f"{key:18s} {value}" for key, value in found.items())


def main() -> int:
    """Run both and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--good", type=int, default=20, help="good rollouts")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--temporality", choices=("cumulative", "delta"), default="cumulative", help="of the metrics")
    parser.add_argument("--json", action="store_true", help="one JSON line, last")
    args = parser.parse_args()
    began = time.perf_counter()
    delta = args.temporality == "delta"
    found = bad(args.seed, delta, True)
    well = good(args.seed + 1, args.good, delta, True)
    found |= {"good_rollouts": well["good_rollouts"], "false": well["false"] + int(str(found.pop("before")))}
    print(*lines(found), f"{'took':18s} {time.perf_counter() - began:.0f} s", sep="\n")
    if args.json:
        print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
