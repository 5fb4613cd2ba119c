"""CPU faults in a real system's metrics (the Nezha slice: TrainTicket, 46 pods, a point a minute), and false alerts.

Every column of every pod is written as one-point JSON under a name as an exporter would give it, in order of time, both days
one after the other (all pods are renamed in between), and read by the shipped decoder and judged with the shipped specs and
settings as `anomaly replay` does. A fault is found by an alert of its service from 120 s before its onset to 240 s after it,
as the slice's README asks. An alert is false if it is told in the fault-free time (on the 29th up to 11:40, on the 30th from
11:39 to 12:13), outside all labelled faults and all spans to be ignored. As in `nezha_score.py` only what people are told
counts, for either: a ticket or a page, from the moment at which it is one. What is only recorded (severity info: what
supports something else, and nothing else is wrong) goes to no receiver, and is counted apart. The slice's other faults are
told by logs and traces; what metrics tell of them counts in the table, not in the reach.

    python benchmarks/nezha_metrics.py --data NEZHA [--json]
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from benchmarks.nezha_read import Fault, Span, clean, faults, found, ignored, rows, service_of  # noqa: E402

from anomaly.config.load import load_specs  # noqa: E402
from anomaly.config.settings import Settings  # noqa: E402
from anomaly.dispatch.alert import Alert, Severity, What  # noqa: E402
from anomaly.host.history import Case, History  # noqa: E402
from anomaly.host.labelled import ms  # noqa: E402
from anomaly.host.replay import run  # noqa: E402

ABSENT = 3  # exit status: the data is not there
CPU = "cpu_contention"
# Column: metric, and what a value is multiplied by.
COLUMNS = {
    "CpuUsage(m)": ("container_cpu_usage_millicores", 1.0),
    "CpuUsageRate(%)": ("container_cpu_usage_percent", 1.0),
    "MemoryUsage(Mi)": ("container_memory_usage_bytes", 1048576.0),
    "MemoryUsageRate(%)": ("container_memory_usage_percent", 1.0),
    "SyscallRead": ("container_syscall_read", 1.0),
    "SyscallWrite": ("container_syscall_write", 1.0),
    "NetworkReceiveBytes": ("container_network_receive_bytes", 1.0),
    "NetworkTransmitBytes": ("container_network_transmit_bytes", 1.0),
    **{f"Pod{side}Latency{q}(s)": (f"pod_{side.lower()}_latency_{q.lower()}_seconds", 1.0)
       for side in ("Client", "Server") for q in ("P90", "P95", "P99")},
    "PodWorkload(Ops)": ("pod_workload_ops", 1.0),
    "PodSuccessRate(%)": ("pod_success_percent", 1.0),
    "NodeCpuUsageRate(%)": ("node_cpu_usage_percent", 1.0),
    "NodeMemoryUsageRate(%)": ("node_memory_usage_percent", 1.0),
    "NodeNetworkReceiveBytes": ("node_network_receive_bytes", 1.0),
    "SuccessRate(%)": ("service_success_percent", 1.0),
    **{f"Latency{q}(s)": (f"service_latency_{q.lower()}_seconds", 1.0) for q in ("P50", "P90", "P95", "P99")},
}  # fmt: skip


def tables(root: Path) -> Iterator[tuple[str, str, list[dict[str, str]]]]:
    """Service, pod (empty: the front) and rows of each metric file."""
    for path in found(root, "rca_data/*/metric/*.csv"):
        table = list(rows(path))
        pod = table[0].get("PodName", "")
        yield (service_of(pod) if pod else "frontend"), pod, table


def records(root: Path) -> list[bytes]:
    """One-point JSON, in order of time; what is not a number is no point."""
    made: list[tuple[int, bytes]] = []
    for service, pod, table in tables(root):
        labels = {"job": service, **({"pod": pod} if pod else {})}
        for row in table:
            at = int(row["TimeStamp"])
            time = datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")
            for column, (name, times) in COLUMNS.items():
                if (value := float(row.get(column) or "nan")) == value:
                    body = {
                        "timestamp": time,
                        "value": repr(value * times),
                        "name": name,
                        "labels": {"__name__": name, **labels},
                    }
                    made.append((at, json.dumps(body).encode()))
    return [record for _, record in sorted(made, key=lambda one: one[0])]


Share = tuple[str, NDArray[np.int64], NDArray[np.float64], list[Span], list[Span]]


def cpu_shares(root: Path) -> list[Share]:
    """Each pod's CPU in percent: name, ms, values, its CPU faults, and where an alarm is neither right nor wrong."""
    labelled, unsure = faults(root), ignored(root)
    made: list[Share] = []
    for service, pod, table in tables(root):
        if not pod:
            continue
        time = np.array([int(r["TimeStamp"]) * 1000 for r in table], np.int64)
        value = np.array([float(r["CpuUsageRate(%)"] or "nan") for r in table])
        keep = ~np.isnan(value)
        here = [f for f in labelled if f.service == service and time[0] <= f.onset <= time[-1]]
        windows = [f.span for f in here if f.type == CPU]
        doubtful = [f.span for f in here if f.type != CPU] + [span for who, span in unsure if who in ("", service)]
        made.append((pod, time[keep], value[keep], windows, doubtful))
    return made


def replayed(root: Path) -> History:
    """All of it through the shipped decoder, specs and settings."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "nezha")
        path.write_bytes(b"\n".join(records(root)) + b"\n")
        return run([str(path)], Settings(), load_specs(), "prometheus_json")


class Told(NamedTuple):
    """An incident of which people were told, and by which of its alerts."""

    case: Case
    alert: Alert

    @property
    def time(self) -> int:
        """When, ms."""
        return ms(self.alert.time)

    def is_of(self, fault: Fault) -> bool:
        """Whether it is about the service of the fault."""
        return self.alert.group.split("/")[-1] == fault.service


def told(case: Case) -> Told | None:
    """By its first alert that is more than a record, if one is."""
    news = (a for a in case.alerts if a.event is not What.RESOLVE and a.severity is not Severity.INFO)
    return next((Told(case, alert) for alert in news), None)


def finds(fault: Fault, known: Sequence[Told]) -> Told | None:
    """The first incident of its service that is told within it."""
    first, last = fault.span
    return min((t for t in known if t.is_of(fault) and first <= t.time <= last), key=lambda t: t.time, default=None)


def open_then(fault: Fault, known: Sequence[Told]) -> Told | None:
    """An incident of its service that was told before and lasts: nobody is told of the new trouble."""
    before = (t for t in known if t.is_of(fault) and t.time < fault.span[0])
    return next((t for t in before if (t.case.span[1] or sys.maxsize) > fault.onset), None)


def main() -> int:
    """Run, print, and say by the exit status whether there was anything to run on."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the Nezha slice, with its labels.csv")
    parser.add_argument("--json", action="store_true", help="last line: one JSON object")
    options = parser.parse_args()
    if not (options.data / "labels.csv").is_file():
        print(f"nezha_metrics: no labels.csv in {options.data}: give the slice's folder by --data", file=sys.stderr)
        return ABSENT
    labelled, unsure, history = faults(options.data), ignored(options.data), replayed(options.data)
    cases = list(history.cases.values())
    known = [one for case in cases if (one := told(case))]
    records = [c for c in cases if told(c) is None and clean(ms(c.first.time), labelled, unsure)]
    hits = [(fault, finds(fault, known)) for fault in labelled]
    print(f"{history.points:,} points, {len(history.dead)} dead letters, {len(known)} incidents told, {len(cases)} recorded")
    print(f"{'onset (UTC)':18}{'service':30}{'type':16}{'after s':>8}  what")
    for fault, hit in hits:
        at = f"{datetime.fromtimestamp(fault.onset / 1000, UTC):%m-%d %H:%M:%S}"
        how = f"{(hit.time - fault.onset) / 1000:8.0f}  {hit.alert.title}" if hit else f"{'-':>8}"
        if not hit and (before := open_then(fault, known)):
            how += f"  open since {before.alert.time}: {before.alert.title}"
        print(f"{at:18}{fault.service:30}{fault.type:16}{how}")
    false = [one for one in known if clean(one.time, labelled, unsure)]
    for one in false:
        print(f"false: {one.alert.time} {one.case.worst.value} {one.alert.title}")
    for case in records:
        print(f"recorded: {case.first.time} {case.first.title}")
    cpu = [(fault, hit) for fault, hit in hits if fault.type == CPU]
    delays = [(hit.time - fault.onset) / 1000 for fault, hit in cpu if hit]
    report: dict[str, Any] = {
        "points": history.points, "cpu_faults": len(cpu), "cpu_found": len(delays), "false_alerts": len(false),
        "false_pages": sum(one.case.worst is Severity.CRITICAL for one in false), "recorded": len(records),
        "median_delay_s": float(np.median(delays)) if delays else None,
        "other_faults": len(hits) - len(cpu), "other_found": sum(c is not None for f, c in hits if f.type != CPU),
        "incidents": len(known),
    }  # fmt: skip
    print(
        f"CPU faults found {len(delays)} of {len(cpu)}; false alerts {len(false)}, of them pages {report['false_pages']}; "
        f"only recorded in the fault-free time {len(records)}"
    )
    if options.json:
        print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
