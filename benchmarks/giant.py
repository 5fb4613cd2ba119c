"""A giant group on one partition, and spread over several by metric: how even the parts are, and what spreading costs.

One service of INSTANCES instances, each with METRICS gauges and counters of very different widths (the widest has a sixth
of all series, as a request counter by route does), OTLP, a request of an instance every ten seconds. In one process, step
by step in turn, without Kafka: the same requests through two engines, of which one knows the service for a giant. A
partition is one core's work at most, so the busiest says how many points a second the group can have.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import numpy as np  # noqa: E402
from benchmarks.million import MARK, NUMBER, places  # noqa: E402
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest  # noqa: E402

from anomaly.config.load import load_specs  # noqa: E402
from anomaly.config.settings import IdentitySettings, Settings, SourceSettings  # noqa: E402
from anomaly.decode.points import Flag  # noqa: E402
from anomaly.decode.records import Records  # noqa: E402
from anomaly.engine import Engine  # noqa: E402

BEGIN, EVERY = 1_767_225_600, 10  # seconds since the epoch; between steps
METRICS, WIDEST = 60, 40
WARM = 3  # steps that register and learn how long a cell is, and do not count
SOURCE = SourceSettings(topic="bench", encoding="otlp_proto")


def width(metric: int) -> int:
    """How many series of it an instance has."""
    return WIDEST // (metric + 1) + 1


SIZE = sum(map(width, range(METRICS)))  # series of an instance


class Instance:
    """The request of one instance, with the places of its times and values."""

    def __init__(self, number: int) -> None:
        self.number = number
        raw = request(number)
        self.raw = np.frombuffer(raw, np.uint8).copy()
        self.times, self.values = places(raw, MARK, SIZE), places(raw, NUMBER, SIZE)

    def export(self, step: int) -> bytes:
        """What it has to say at a step; values rise, so that they are right for counters too."""
        second = BEGIN + EVERY * step
        noise = (np.arange(len(self.values)) * 7919 + step * 31 + self.number * 17) % 100 / 10.0
        self.raw[self.times] = np.frombuffer((second * 10**9).to_bytes(8, "little"), np.uint8)
        self.raw[self.values] = (100.0 * step + noise).view(np.uint8).reshape(-1, 8)
        return self.raw.tobytes()


def request(number: int) -> bytes:
    """A request with marks where times and values stand."""
    made = ExportMetricsServiceRequest()
    resource = made.resource_metrics.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "search"
    resource.resource.attributes.add(key="service.instance.id").value.string_value = f"search-{number:04d}"
    metrics = resource.scope_metrics.add().metrics
    mark, value = int.from_bytes(MARK, "little"), float(np.frombuffer(NUMBER, np.float64)[0])
    for i in range(METRICS):
        metric = metrics.add(name=f"search.work.{i:02d}")
        data: Any = metric.gauge if i % 3 else metric.sum
        if i % 3 == 0:
            data.is_monotonic, data.aggregation_temporality = True, 2
        for k in range(width(i)):
            point = data.data_points.add(time_unix_nano=mark, as_double=value)
            point.attributes.add(key="route").value.string_value = f"/r/{k:02d}"
    return made.SerializeToString()


class Side:
    """One engine, and what it took: CPU seconds of decode, and by partition CPU seconds of detect and points."""

    def __init__(self, giants: tuple[str, ...], partitions: int) -> None:
        self.engine = Engine(Settings(identity=IdentitySettings(giants=giants)), load_specs(), partitions)
        self.decode, self.detect, self.points = 0.0, np.zeros(partitions), np.zeros(partitions, np.int64)
        self.beats = 0

    def take(self, records: Records, counts: bool) -> None:
        """All of a step."""
        began = time.process_time()
        blocks, _ = self.engine.decode(SOURCE, records)
        self.decode += (time.process_time() - began) * counts
        for p, block in blocks:
            n, beats = len(block.points), int((block.points.flags == Flag.BEAT).sum())
            began = time.process_time()
            self.engine.detect(p, block)
            self.detect[p] += (time.process_time() - began) * counts
            self.points[p] += (n - beats) * counts
            self.beats += beats * counts

    def found(self) -> dict[str, Any]:
        """The figures."""
        points = int(self.points.sum())
        return {
            "points": points, "beats": self.beats, "shares": (self.points / points).round(3).tolist(),
            "decode_points_per_cpu_s": points / self.decode, "detect_points_per_cpu_s": points / self.detect.sum(),
            "busiest_detect_cpu_s": float(self.detect.max()), "points_per_s_of_the_busiest": points / self.detect.max(),
        }  # fmt: skip


def steps(instances: int, n: int) -> Iterator[tuple[int, list[bytes]]]:
    """The requests of each step."""
    made = [Instance(i) for i in range(instances)]
    for step in range(n):
        yield step, [instance.export(step) for instance in made]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="the figures as the last line")
    parser.add_argument("--instances", type=int, default=200)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--partitions", type=int, default=4)
    args = parser.parse_args()
    sides = {"whole": Side((), args.partitions), "spread": Side(("search",), args.partitions)}
    offset = 0
    for step, values in steps(args.instances, args.steps + WARM):
        for side in sides.values():
            side.take(Records.of(values, "bench", 0, offset), step >= WARM)
        offset += len(values)
    found = {name: side.found() for name, side in sides.items()}
    for name, f in found.items():
        print(
            f"{name:7} shares {f['shares']}, decode {f['decode_points_per_cpu_s'] / 1e6:.2f} and detect "
            f"{f['detect_points_per_cpu_s'] / 1e6:.2f} M points a CPU-second, the busiest partition bears "
            f"{f['points_per_s_of_the_busiest'] / 1e6:.2f} M points/s, {f['beats']} beats"
        )
    ratio = found["spread"]["points_per_s_of_the_busiest"] / found["whole"]["points_per_s_of_the_busiest"]
    print(f"spread against whole, points a second that the group can have: {ratio:.2f} × on {args.partitions} partitions")
    if args.json:
        print(json.dumps(found | {"partitions": args.partitions, "spread_vs_whole": ratio}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
