"""Spans from OTLP protobuf to rates, errors and durations of operations and calls between services, on one core.

Input is made: services that call each other over two hops, traces of seven spans with the attributes that an SDK gives them,
records as the Collector batches them (one or more services a record, a trace's spans in several records), or the recording
of a real Collector (`--data`, otlp_spans.bin.gz of the folder `collector`), repeated with other ids and later times.
Measured are spans per second of CPU time, the best of several interleaved rounds:
(a) scan: the compiled scanner alone, columns of spans
(b) decode: `Encoding.decode`, points of operations and of calls, halves joined
(c) stage: `Decode.blocks`, split by group, announcements and time checks included, traces put together to steps; with
    `limits.traced_events` as it comes (`--traced` to choose; of how many traces that is, the table says), and alone: with
    none. Both on the later part of the blocks, so that traces are closed all the time and series are known. The Collector's
    records are few a second: closing costs by the turn of five seconds there, not by the span
(d) walk: upb, and in Python objects what (b) does: counts and bucketed durations in a dict by service, operation, kind and
    status, calls joined by a dict of span ids; no dead letters, no bounds
(b) and (d) must give the same counts, or it is said. Exit code 3: the data are not there.
"""

import argparse
import gzip
import json
import struct
import sys
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import numpy as np  # noqa: E402
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest  # noqa: E402

from anomaly.config.settings import Limits, Settings, SourceSettings  # noqa: E402
from anomaly.decode import spans_series as made  # noqa: E402
from anomaly.decode.catalog import Catalog  # noqa: E402
from anomaly.decode.encodings import ENCODINGS  # noqa: E402
from anomaly.decode.identity import Identity  # noqa: E402
from anomaly.decode.records import Records  # noqa: E402
from anomaly.decode.spans_otlp import scan  # noqa: E402
from anomaly.decode.stage import Decode  # noqa: E402

BEGIN, SECOND = 1_700_000_000, 10**9
BLOCK_BYTES = 4 << 20
PER_RECORD = 140  # spans: as many as a Collector's record holds at the median
FILE = "otlp_spans.bin.gz"
ENCODING = "otlp_spans_proto"
RESOURCE = {
    "service.namespace": "bench", "host.name": "vm", "service.version": "1.4.2", "telemetry.sdk.language": "python",
}  # fmt: skip
ATTRIBUTES = {"http.request.method": "GET", "http.route": "/api/v1/items", "url.scheme": "http", "server.address": "cart"}


def traces(n: int, services: int) -> Iterator[tuple[int, str, int, Any]]:
    """(service, instance, operation, span fields) of n spans: a gateway calls two services, of which each calls one."""
    random = np.random.default_rng(1)
    rate = 2_000  # traces a second
    for t in range(n // 7 + 1):
        ids = random.integers(1, 1 << 63, 9, np.int64).tolist()
        trace = struct.pack("<QQ", ids[7], ids[8])
        start, home = BEGIN * SECOND + t * SECOND // rate, t % (services // 4)
        a, b, c, d = (home * 4 + k for k in range(4))
        took = random.lognormal(16, 0.5, 4).astype(np.int64).tolist()
        failed = 2 if t % 97 == 0 else 0
        route = f"/r{t % 12}"
        yield a, route, 2, (trace, ids[0], 0, start, start + sum(took), 0)
        yield a, f"GET b{route}", 3, (trace, ids[1], ids[0], start + 5, start + took[0] + took[1] + 10, failed)
        yield b, f"b{route}", 2, (trace, ids[2], ids[1], start + 7, start + took[0] + took[1], failed)
        yield b, "SELECT", 3, (trace, ids[3], ids[2], start + 9, start + took[0], 0)
        yield c, f"c{route}", 2, (trace, ids[4], ids[0], start + 11, start + took[2], 0)
        yield c, "GET d", 3, (trace, ids[5], ids[4], start + 13, start + took[2] - 20, 0)
        yield d, "d", 2, (trace, ids[6], ids[5], start + 15, start + took[2] // 2, 0)


def records(n: int, services: int) -> Iterator[bytes]:
    """Requests of PER_RECORD spans; a record has all that its four services sent in a moment."""
    held: list[Any] = []
    for span in traces(n, services):
        held.append(span)
        if len(held) == PER_RECORD:
            yield request(held)
            held = []


def request(spans: Sequence[Any]) -> bytes:
    """One request, a resource for each service."""
    made_of: dict[int, Any] = {}
    out = ExportTraceServiceRequest()
    for service, operation, kind, (trace, own, parent, start, end, status) in spans:
        if service not in made_of:
            resource = out.resource_spans.add()
            own_names = {"service.name": f"service-{service:03d}", "service.instance.id": f"i-{service}"}
            for key, value in {**own_names, **RESOURCE}.items():
                resource.resource.attributes.add(key=key).value.string_value = value
            made_of[service] = resource.scope_spans.add()
        span = made_of[service].spans.add(trace_id=trace, span_id=struct.pack("<Q", own), name=operation, kind=kind)
        if parent:
            span.parent_span_id = struct.pack("<Q", parent)
        span.start_time_unix_nano, span.end_time_unix_nano, span.flags = start, end, 256
        span.status.code = status
        for key, value in ATTRIBUTES.items():
            span.attributes.add(key=key).value.string_value = value
    return out.SerializeToString()


def recorded(folder: Path, n: int) -> Iterator[bytes]:
    """The Collector's records in their order, again and again, with other ids and later each time."""
    raw, at = gzip.decompress((folder / FILE).read_bytes()), 0
    values = list[tuple[int, ExportTraceServiceRequest]]()
    while at < len(raw):
        _, stamp, key, size = struct.unpack_from(">iqii", raw, at)
        at += 20 + max(key, 0)
        values.append((stamp, ExportTraceServiceRequest.FromString(raw[at : at + size])))
        at += size
    values.sort(key=lambda pair: pair[0])
    given, turn = 0, 0
    while given < n:
        for _, value in values:
            yield value.SerializeToString()
            for span in every(value):
                given += 1
                span.trace_id = struct.pack("<I", turn + 1) + span.trace_id[4:]
                span.start_time_unix_nano += 120 * SECOND
                span.end_time_unix_nano += 120 * SECOND
        turn += 1


def every(value: ExportTraceServiceRequest) -> Iterator[Any]:
    """The spans of a request."""
    for resource in value.resource_spans:
        for scope in resource.scope_spans:
            yield from scope.spans


class Walk:
    """The plain way: an object per span."""

    def __init__(self) -> None:
        self.calls: Counter[Any] = Counter()
        self.buckets: dict[Any, list[int]] = {}
        self.sums: Counter[Any] = Counter()
        self.edges: Counter[Any] = Counter()
        self.seen: dict[Any, Any] = {}
        self.waiting: dict[Any, list[Any]] = {}

    def take(self, value: bytes) -> None:
        """One record."""
        for resource in ExportTraceServiceRequest.FromString(value).resource_spans:
            service = next(a.value.string_value for a in resource.resource.attributes if a.key == "service.name")
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.span(service, span)

    def span(self, service: str, span: Any) -> None:
        """One span."""
        key = service, span.name, span.kind, span.status.code
        took = (span.end_time_unix_nano - span.start_time_unix_nano) * 1e-9
        self.calls[key] += 1
        self.sums[key] += took
        self.bucket(key, took)
        me = service, span.name, took, span.status.code
        self.seen[span.trace_id, span.span_id] = me
        for callee in self.waiting.pop((span.trace_id, span.span_id), ()):
            self.call(me, callee)
        above = span.trace_id, span.parent_span_id
        if span.parent_span_id and above in self.seen:
            self.call(self.seen[above], me)
        elif span.parent_span_id:
            self.waiting.setdefault(above, []).append(me)

    def call(self, caller: Any, callee: Any) -> None:
        """A call, if it is one between services."""
        if caller[0] != callee[0]:
            key = caller[0], callee[0], callee[1], max(caller[3], callee[3])
            self.edges[key] += 1
            self.bucket((*key, "client"), caller[2])
            self.bucket((*key, "between"), max(caller[2] - callee[2], 0.0))

    def bucket(self, key: Any, took: float) -> None:
        """One more in a histogram."""
        held = self.buckets.setdefault(key, [0] * made.BUCKETS)
        held[bisect_left(made.BOUNDS, took)] += 1


def blocks(values: Iterable[bytes]) -> list[Records]:
    """The records in blocks of the size in which they come from Kafka."""
    out, held, size, offset = list[Records](), list[bytes](), 0, 0
    for value in values:
        held.append(value)
        size += len(value)
        if size > BLOCK_BYTES:
            out.append(Records.of(held, "bench", 0, offset))
            offset, held, size = offset + len(held), [], 0
    return [*out, Records.of(held, "bench", 0, offset)] if held else out


def warmed(traced: int, source: SourceSettings, held: Sequence[Records]) -> Decode:
    """A stage that has taken these blocks."""
    stage = Decode(Settings(limits=Limits(traced_events=traced)), 4)
    for block in held:
        stage.blocks(source, block)
    return stage


def ours(work: Callable[[Records], object], held: Sequence[Records]) -> float:
    """CPU seconds to work on all blocks, keeping nothing."""
    began = time.process_time()
    for block in held:
        work(block)
    return time.process_time() - began


def counts(catalog: Catalog, points: Iterable[Any]) -> Counter[Any]:
    """How many calls of each kind our points say, by what the walk counts."""
    found: Counter[Any] = Counter()
    for part in points:
        for row, value in zip(catalog.rows_of(part.series).tolist(), part.value.tolist(), strict=True):
            s = catalog.series[row]
            labels = dict(s.labels)
            if s.metric == made.CALLS:
                found[s.group.rpartition("/")[2], labels["span.name"]] += value
            elif s.metric == made.REQUESTS:
                found[labels["client"].rpartition("/")[2], s.group.rpartition("/")[2], labels["span.name"]] += value
    return found


def expected(walk: Walk) -> Counter[Any]:
    """The same as the walk counted it."""
    found: Counter[Any] = Counter()
    for (service, name, *_), n in walk.calls.items():
        found[service, name] += n
    for (caller, callee, name, _), n in walk.edges.items():
        found[caller, callee, name] += n
    return found


def measure(values: Sequence[bytes], rounds: int, traced: int) -> dict[str, float]:
    """Spans per second of CPU time for each way, and whether they agree."""
    held, source = blocks(values), SourceSettings(topic="bench", encoding=ENCODING)
    cut = len(held) * 2 // 5
    later = sum(len(scan(block, 7)[0]) for block in held[cut:])
    n, few = sum(len(scan(block, 7)[0]) for block in held), values[: max(len(values) // 10, 1)]
    first, walk = ENCODINGS[ENCODING](), Walk()
    catalog = Catalog(Identity(Settings().identity))
    points = [first.decode(block, catalog).points for block in held]  # compiled, and all series known
    for value in values:
        walk.take(value)
    best: dict[str, float] = {}
    for _ in range(rounds):
        encoding, plain = ENCODINGS[ENCODING](), Walk()
        stage, alone = (warmed(events, source, held[:cut]) for events in (traced, 0))
        took = {
            "scan": ours(lambda block: scan(block, 7), held) / n,
            "decode": ours(lambda block, to=encoding: to.decode(block, catalog), held) / n,  # type: ignore[misc]
            "stage": ours(lambda block, to=stage: to.blocks(source, block), held[cut:]) / later,  # type: ignore[misc]
            "alone": ours(lambda block, to=alone: to.blocks(source, block), held[cut:]) / later,  # type: ignore[misc]
        }
        began = time.process_time()
        for value in few:
            plain.take(value)
        took["walk"] = (time.process_time() - began) / sum(plain.calls.values())
        best = {name: min(seconds, best.get(name, seconds)) for name, seconds in took.items()}
    rates = {name: 1 / seconds for name, seconds in best.items()}
    same = counts(catalog, points) == expected(walk)
    assert stage.steps
    share = 0.5**stage.steps.level
    return rates | {"share": share, "spans": n, "points": sum(len(p) for p in points), "same": same}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="all figures as the last line")
    parser.add_argument("--data", type=Path, help=f"the folder of {FILE}; without it the made-up services alone")
    parser.add_argument("--spans", type=int, default=600_000)
    parser.add_argument("--services", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--traced", type=int, default=Limits().traced_events, help="limits.traced_events")
    args = parser.parse_args()
    if args.data and not (args.data / FILE).is_file():
        print(f"{args.data / FILE}: no such file; --data names the folder with a Collector's spans", file=sys.stderr)
        return 3
    forms: dict[str, Callable[[], Iterator[bytes]]] = {"made": lambda: records(args.spans, args.services)}
    if args.data:
        forms["collector"] = lambda: recorded(args.data, args.spans)
    row = "{:12}" + "{:>9}" * 5 + "{:>10}{:>14}{:>14}{:>8}"
    print("million spans per second of CPU time on one core")
    print(row.format("", "scan", "decode", "stage", "alone", "walk", "÷ walk", "points/span", "whole traces", "same"))
    results: dict[str, float] = {}
    for name, form in forms.items():
        found = measure(list(form()), args.rounds, args.traced)
        ratio, share = found["decode"] / found["walk"], found["points"] / found["spans"]
        rates = [f"{found[k] / 1e6:.2f}" for k in ("scan", "decode", "stage", "alone", "walk")]
        agrees = "yes" if found["same"] else "NO"
        print(row.format(name, *rates, f"{ratio:.0f} ×", f"{share:.2f}", f"{found['share']:.0%}", agrees), flush=True)
        results |= {f"{name}_{k}": round(float(v), 2) for k, v in found.items()}
        results |= {"spans_per_s": round(found["decode"]), "vs_walk": round(ratio, 1)}
    if args.json:
        print(json.dumps(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
