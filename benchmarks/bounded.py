"""A flood of things that are all different: kinds of log lines, and traces of which only one half comes.

Each is far more than is remembered. Printed are what is held at the end, against its limit; what was counted as too much;
the memory that the process grew by since a tenth of the flood, and lines or spans a second on one core.
"""

import argparse
import hashlib
import json
import resource
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest  # noqa: E402
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest  # noqa: E402

from anomaly.config.load import load_specs  # noqa: E402
from anomaly.config.settings import Limits, LogSettings, Settings, SourceSettings  # noqa: E402
from anomaly.decode.records import Records  # noqa: E402
from anomaly.decode.spans_traces import LET_GO_SPANS, Traces  # noqa: E402
from anomaly.engine import Engine  # noqa: E402

BEGIN = 1_700_000_000  # seconds since the epoch
PER_RECORD, SERVICES = 100, 40
LETTERS = str.maketrans("0123456789abcdef", "ghijklmnopqrstuv")  # of which no number is made


class Flood(NamedTuple):
    """What became of `attempted` things: how many were counted, in one way or another; how many are held of each sort, and
    how many may be; those that were too much."""

    attempted: int
    counted: int
    held: dict[str, int]
    most: dict[str, int]
    over: int
    grown_mb: float
    per_s: float


def words(n: int) -> str:
    """A line that is of no other's kind, nor like one."""
    digits = hashlib.sha256(str(n).encode()).hexdigest().translate(LETTERS)
    return " ".join(digits[i : i + 6] for i in range(0, 30, 6))


def lines(n: int) -> Iterator[bytes]:
    """Requests with so many kinds of lines, of several services."""
    for first in range(0, n, PER_RECORD):
        request = ExportLogsServiceRequest()
        service = request.resource_logs.add()
        service.resource.attributes.add(key="service.name").value.string_value = f"s{first // PER_RECORD % SERVICES}"
        scope = service.scope_logs.add()
        for i in range(first, min(first + PER_RECORD, n)):
            scope.log_records.add(time_unix_nano=BEGIN * 10**9 + i * 10**6, severity_number=9).body.string_value = words(i)
        yield request.SerializeToString()


def spans(n: int) -> Iterator[bytes]:
    """Requests with so many traces within ten microseconds each, of every one a half alone."""
    for first in range(0, n, PER_RECORD):
        request = ExportTraceServiceRequest()
        service = request.resource_spans.add()
        service.resource.attributes.add(key="service.name").value.string_value = "shop"
        scope = service.scope_spans.add()
        for i in range(first, min(first + PER_RECORD, n)):
            start, ids = BEGIN * 10**9 + i * 10**4, struct.pack(">QQ", i + 1, i + 1)
            made = scope.spans.add(trace_id=ids, span_id=ids[8:], name="GET", kind=3)
            made.start_time_unix_nano, made.end_time_unix_nano = start, start + 10**6
        yield request.SerializeToString()


def flood(engine: Engine, encoding: str, values: list[bytes], n: int) -> tuple[float, float]:
    """Take them; MB that were grown by behind the first tenth, and how many a second."""
    source, seconds, before = SourceSettings(topic="t", encoding=encoding), 0.0, 0
    for i, value in enumerate(values):
        records = Records.of([value], "t", 0, i, (BEGIN + n // 1000 + 60) * 1000)
        begin = time.process_time()
        engine.process(source, records)
        seconds += time.process_time() - begin
        if i == len(values) // 10:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, n / seconds


def templates(n: int, limits: LogSettings) -> Flood:
    """So many kinds of lines."""
    engine = Engine(Settings(logs=limits), load_specs([]))
    grown, per_s = flood(engine, "otlp_logs_proto", list(lines(n)), n)
    kinds = engine.detector(0).logs.kinds
    held = {"templates": len(kinds), "signatures": kinds.rows.signatures.used}
    most = {"templates": (limits.templates + 1) * SERVICES, "signatures": limits.signatures + SERVICES}
    over = sum(over for _, metric, over in engine.detector(0).overflow() if metric.startswith("log.records of "))
    return Flood(n, int(kinds.rows.template["total"].sum() + kinds.rows.rings.sum()), held, most, over, grown, per_s)


def traces(n: int, limits: Limits) -> Flood:
    """So many traces."""
    engine = Engine(Settings(limits=limits), load_specs([]))
    grown, per_s = flood(engine, "otlp_spans_proto", list(spans(n)), n)
    encoding = engine._decode._encoding(SourceSettings(topic="t", encoding="otlp_spans_proto"))
    assert isinstance(encoding, Traces)
    held = encoding.join("t", 0).held
    over = engine.counts[LET_GO_SPANS]
    return Flood(n, held + over, {"halves": held}, {"halves": limits.spans}, over, grown, per_s)


def main() -> int:
    """Both floods; 1 where a limit did not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--templates", type=int, default=1_000_000)
    parser.add_argument("--traces", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true", help="last line: JSON")
    asked = parser.parse_args()
    found = {"templates": templates(asked.templates, LogSettings()), "traces": traces(asked.traces, Limits())}
    wrong = False
    for name, one in found.items():
        print(
            f"{name:10} {one.attempted:>9,} attempted  {one.over:>9,} too much +{one.grown_mb:5.0f} MB {one.per_s:10,.0f}/s"
        )
        for sort, held in one.held.items():
            print(f"{'':10} {held:>9,} {sort} held of {one.most[sort]:,}")
            wrong |= held > one.most[sort]
    if asked.json:
        print(json.dumps({name: one._asdict() for name, one in found.items()}))
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
