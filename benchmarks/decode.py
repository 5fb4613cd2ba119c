"""Decode alone, side by side in one run: our scanners, the complete decoders behind them, and a plain library.

For each form of input, points (samples) per second of CPU time on one core, from the raw records of 4 MB blocks in memory to
(a) scan: the compiled scanner alone, columns on the wire's terms, no series looked up
(b) decode: `Encoding.decode`, Points of known series
(c) stage: `Decode.blocks`, split by group, announcements and time checks included
(d) complete: the complete decoder behind the scanner, an object per point
(e) library: only parsed, nothing read of it: msgspec into typed structs and orjson (the faster one counts) for JSON, upb for
    protobuf; among the JSON keys, "walk" is upb with a look at the time and value of each point, as whoever uses it must
All series are known before; how long a new one takes is told apart. What is made of a block is dropped before the next one,
as a worker does. The best of several interleaved rounds counts.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import cramjam  # noqa: E402
import msgspec  # noqa: E402
import numpy as np  # noqa: E402
import orjson  # noqa: E402
from benchmarks.ingest import BEGIN, EVERY, json_records, otlp_records  # noqa: E402
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest  # noqa: E402

from anomaly.config.settings import Settings, SourceSettings  # noqa: E402
from anomaly.decode import prometheus_json, prometheus_series, telegraf_json  # noqa: E402
from anomaly.decode.catalog import Catalog  # noqa: E402
from anomaly.decode.encodings import ENCODINGS, Parsed, Sample  # noqa: E402
from anomaly.decode.identity import Identity  # noqa: E402
from anomaly.decode.known import Known  # noqa: E402
from anomaly.decode.otlp import parse_protobuf  # noqa: E402
from anomaly.decode.otlp_describe import scan as scan_otlp  # noqa: E402
from anomaly.decode.prometheus import Requests  # noqa: E402
from anomaly.decode.prometheus_bodies import Decompressor  # noqa: E402
from anomaly.decode.prometheus_messages import TimeSeries, WriteRequest  # noqa: E402
from anomaly.decode.records import Records  # noqa: E402
from anomaly.decode.stage import Decode  # noqa: E402
from anomaly.decode.text import instant  # noqa: E402

T = TypeVar("T")

BLOCK_BYTES = 4 << 20
SLOW = 40_000  # points given to what makes an object per point
SERIES, PER_REQUEST = 12_000, 500


@dataclass(slots=True)
class Form:
    """One form of input. `scan` and `library` take a record block and a record."""

    name: str
    encoding: str
    records: Callable[[int], Iterator[bytes]]
    per_record: int
    scan: Callable[[Records], object]
    complete: Callable[[bytes], Any]
    libraries: dict[str, Callable[[bytes], object]] = field(default_factory=dict)


def telegraf_records(n: int) -> Iterator[bytes]:
    """Messages of ten fields, as Telegraf's cpu plug-in sends them."""
    for k in range(n):
        step, s = divmod(k, SERIES // 10)
        fields = {f"usage_{name}": (k * 7919 + i) % 100_000 / 1000 for i, name in enumerate("abcdefghij")}
        tags = {"cpu": f"cpu{s % 8}", "host": f"host-{s // 8:04d}"}
        yield orjson.dumps({"fields": fields, "name": "cpu", "tags": tags, "timestamp": BEGIN + EVERY * step})


def remote_write_records(n: int) -> Iterator[bytes]:
    """Requests of PER_REQUEST samples of as many series."""
    labels = []
    for s in range(SERIES):
        names = {"__name__": "http_requests_total", "code": "200", "instance": f"10.0.{s % 250}.{s // 250}:9090"}
        pairs = [
            {"name": k, "value": v} for k, v in {**names, "job": f"service-{s // 100:03d}", "path": f"/v{s % 77}"}.items()
        ]
        labels.append(TimeSeries(labels=pairs).SerializeToString())
    for k in range(n):
        step, part = divmod(k, SERIES // PER_REQUEST)
        series = []
        for s in range(part * PER_REQUEST, (part + 1) * PER_REQUEST):
            sample = {"value": (s * 7919 + step * 31) % 1000 / 10, "timestamp": (BEGIN + EVERY * step) * 1000}
            series.append(labels[s] + TimeSeries(samples=[sample]).SerializeToString())
        yield bytes(cramjam.snappy.compress_raw(WriteRequest(timeseries=series).SerializeToString()))


def distribution_records(kind: str) -> Callable[[int], Iterator[bytes]]:
    """Requests of 100 points: histograms of 12 buckets, exponential ones of 40 at scale 3, summaries of 3 quantiles."""

    def records(n: int) -> Iterator[bytes]:
        for k in range(n):
            step, service = divmod(k, SERIES // 100)
            request = ExportMetricsServiceRequest()
            resource = request.resource_metrics.add()
            resource.resource.attributes.add(key="service.name").value.string_value = f"service-{service:03d}"
            data: Any = getattr(resource.scope_metrics.add().metrics.add(name="d", unit="s"), kind)
            if kind != "summary":
                data.aggregation_temporality = 2
            for i in range(100):
                point = data.data_points.add(time_unix_nano=(BEGIN + EVERY * step) * 10**9, count=100 * step, sum=7.5 * step)
                point.attributes.add(key="route").value.string_value = f"/r/{i:03d}"
                if kind == "histogram":
                    point.explicit_bounds.extend((0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0))
                    point.bucket_counts.extend(range(step, step + 12))
                elif kind == "exponential_histogram":
                    point.scale, point.positive.offset, point.zero_count = 3, -40, step
                    point.positive.bucket_counts.extend(range(step, step + 40))
                else:
                    for q in (0.5, 0.95, 0.99):
                        point.quantile_values.add(quantile=q, value=q * step)
            yield request.SerializeToString()

    return records


def parse_json(value: bytes) -> list[Sample]:
    """The complete decoder of one-point JSON."""
    m = msgspec.json.decode(value, type=prometheus_json.Message)
    series = prometheus_json.describe(m.name, bytes(m.labels))
    return [Sample(series, instant(str(m.timestamp)), float(m.value))]


def parse_remote_write(value: bytes) -> list[Sample]:
    """The complete decoder of remote write."""
    request = prometheus_series.read(bytes(cramjam.snappy.decompress_raw(value)))
    return [sample for raw in request.timeseries for sample in prometheus_series.samples(raw, {})]


def walked(value: bytes) -> float:
    """upb, and each point's time and value looked at."""
    total = 0.0
    for resource in ExportMetricsServiceRequest.FromString(value).resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in getattr(metric, str(metric.WhichOneof("data"))).data_points:
                    total += point.time_unix_nano + (point.as_double if hasattr(point, "as_double") else point.sum)
    return total


def upb_remote_write(value: bytes) -> None:
    """upb, with series parsed as messages, which ours leaves bytes."""
    request: Any = WriteRequest.FromString(bytes(cramjam.snappy.decompress_raw(value)))
    for raw in request.timeseries:
        TimeSeries.FromString(raw)


class Typed(msgspec.Struct, gc=False):
    """One-point JSON in full."""

    timestamp: str
    value: str
    name: str
    labels: dict[str, str]


def forms() -> list[Form]:
    """What is measured."""
    seed = np.uint64(7)
    typed: dict[str, Callable[[bytes], object]] = {"msgspec": msgspec.json.Decoder(Typed).decode}
    metric: dict[str, Callable[[bytes], object]] = {"msgspec": msgspec.json.Decoder(telegraf_json.Message).decode}
    loads: dict[str, Callable[[bytes], object]] = {"orjson": orjson.loads}
    upb = {"upb": ExportMetricsServiceRequest.FromString, "walk": walked}
    decompressor, catalog = Decompressor(1 << 26), Catalog(Identity(Settings().identity))

    def one_point(n: int) -> Iterator[bytes]:
        return (value for _, value in json_records(n))

    def otlp(size: int) -> Callable[[int], Iterator[bytes]]:
        return lambda n: (value for _, value in otlp_records(n * size, size))

    def remote_write(records: Records) -> None:
        for bodies in decompressor.bodies(records, []):
            Requests(bodies, Known("benchmark"), catalog)

    def scan_json(records: Records) -> object:
        return prometheus_json.Messages(records, seed)

    def scan_telegraf(records: Records) -> object:
        return telegraf_json.Fields(records, seed)

    def protobuf(name: str, records: Callable[[int], Iterator[bytes]], size: int) -> Form:
        return Form(name, "otlp_proto", records, size, lambda block: scan_otlp(block, 7), parse_protobuf, upb)

    return [
        Form("prometheus_json", "prometheus_json", one_point, 1, scan_json, parse_json, typed | loads),
        Form("telegraf_json", "telegraf_json", telegraf_records, 10, scan_telegraf, telegraf_json.parse, metric | loads),
        Form("remote_write", "prometheus_remote_write", remote_write_records, PER_REQUEST, remote_write, parse_remote_write,
             {"upb": upb_remote_write}),
        protobuf("otlp_100", otlp(100), 100),
        protobuf("otlp_1000", otlp(1000), 1000),
        protobuf("otlp_histogram", distribution_records("histogram"), 100),
        protobuf("otlp_exponential", distribution_records("exponential_histogram"), 100),
        protobuf("otlp_summary", distribution_records("summary"), 400),
    ]  # fmt: skip


def blocks(values: Sequence[bytes]) -> list[Records]:
    """The records in blocks of the size in which they come from Kafka."""
    made, held, size = [], list[bytes](), 0
    for value in values:
        held.append(value)
        size += len(value)
        if size > BLOCK_BYTES:
            made.append(Records.of(held, "bench", time=(BEGIN + 86_400 * 365) * 1000))
            held, size = [], 0
    return [*made, Records.of(held, "bench", time=(BEGIN + 86_400 * 365) * 1000)] if held else made


def each(things: Iterable[T], work: Callable[[T], object]) -> Callable[[], None]:
    """Work on each, and keep nothing."""

    def run() -> None:
        for thing in things:
            work(thing)

    return run


def took(work: Callable[[], object]) -> float:
    """CPU seconds of one run."""
    began = time.process_time()
    work()
    return time.process_time() - began


def measure(form: Form, points: int, rounds: int) -> dict[str, float]:
    """Points per second of CPU time for each way, and microseconds for a new series."""
    values = list(form.records(points // form.per_record))
    held, few = blocks(values), values[: max(SLOW // form.per_record, 1)]
    source = SourceSettings(topic="bench", encoding=form.encoding)
    encoding, catalog = ENCODINGS[form.encoding](), Catalog(Identity(Settings().identity))
    complete, behind = Parsed(form.complete), Catalog(Identity(Settings().identity))
    stage = Decode(Settings(sources=[source]), 4)
    slow = Records.of(few, "bench")
    for block in held[:1]:  # compiled, or loaded from the cache
        ENCODINGS[form.encoding]().decode(block, Catalog(Identity(Settings().identity)))
    first = took(each(held, lambda block: encoding.decode(block, catalog)))
    ways: dict[str, tuple[Callable[[], object], int]] = {
        "scan": (each(held, form.scan), len(values)),
        "decode": (each(held, lambda block: encoding.decode(block, catalog)), len(values)),
        "stage": (each(held, lambda block: stage.blocks(source, block)), len(values)),
        "complete": (lambda: complete.decode(slow, behind), len(few)),
    }
    ways |= {name: (each(few, parse), len(few)) for name, parse in form.libraries.items()}
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for name, (work, _) in ways.items():
            best[name] = min(best[name], took(work))
    rates = {name: n * form.per_record / best[name] for name, (_, n) in ways.items()}
    return rates | {"new_series_us": (first - best["decode"]) / max(len(catalog.series), 1) * 1e6}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="all figures as the last line")
    parser.add_argument("--points", type=int, default=500_000, help="points of each form")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    row = "{:17}" + "{:>9}" * 4 + "{:>17}{:>12}{:>13}{:>12}"
    print("million points per second of CPU time on one core")
    print(row.format("", "scan", "decode", "stage", "complete", "library", "÷ complete", "÷ library", "new series"))
    results: dict[str, float] = {}
    for form in forms():
        found = measure(form, args.points, args.rounds)
        name = max(form.libraries, key=lambda n: found[n])
        ours = [f"{found[k] / 1e6:.2f}" for k in ("scan", "decode", "stage", "complete")]
        ratios = [f"{found['decode'] / found[k]:.1f} ×" for k in ("complete", name)]
        library, new = f"{name} {found[name] / 1e6:.2f}", f"{found['new_series_us']:.0f} µs"
        print(row.format(form.name, *ours, library, *ratios, new), flush=True)
        results |= {f"{form.name}_{k}": round(v, 1) for k, v in found.items()}
        results[f"{form.name}_vs_complete"] = round(found["decode"] / found["complete"], 1)
        results[f"{form.name}_vs_library"] = round(found["decode"] / found[name], 1)
    results["remote_write_samples_per_s"] = results["remote_write_decode"]
    if args.json:
        print(json.dumps(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
