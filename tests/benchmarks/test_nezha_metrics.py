"""Which alerts count, by a timeline made by hand."""

import gzip
from types import SimpleNamespace
from typing import Any

from benchmarks.nezha_metrics import CPU, cpu_shares, finds, open_then, records, told
from benchmarks.nezha_read import Fault, clean

from anomaly.dispatch.alert import Severity, What
from anomaly.host.labelled import iso, ms

ONSET = ms("2023-01-29T09:00:00Z")
FAULT = Fault(ONSET, "shop", "return")


def test_an_alert_is_false_only_where_nothing_is_wrong_for_certain():
    """Within a fault, a span to be ignored or the unsure afternoon it is not."""
    unsure = [("", (ONSET + 1_800_000, ONSET + 2_160_000))]
    assert clean(ONSET - 120_001, [FAULT], unsure)
    assert not clean(ONSET - 120_000, [FAULT], unsure)
    assert not clean(ONSET + 240_000, [FAULT], unsure)
    assert clean(ONSET + 240_001, [FAULT], unsure)
    assert not clean(ONSET + 2_000_000, [FAULT], unsure)
    assert not clean(ms("2023-01-29T12:00:00Z"), [], [])


def case(*alerts: tuple[float, Severity, What]) -> Any:
    """An incident of the faulty service and its alerts: seconds from the onset, severity, event."""
    made = [SimpleNamespace(time=iso(ONSET + round(s * 1000)), severity=how, event=e, group="shop") for s, how, e in alerts]
    return SimpleNamespace(alerts=made, first=made[0], span=(ms(made[0].time), None))


def test_what_is_only_recorded_neither_finds_a_fault_nor_hides_it():
    """It counts from the moment at which somebody is told."""
    record, ticket = (-60, Severity.INFO, What.TRIGGER), (90, Severity.WARNING, What.UPDATE)
    assert told(case(record, (300, Severity.WARNING, What.RESOLVE))) is None
    (grown,) = [one for one in (told(case(record, ticket)),) if one]
    assert grown.time == ONSET + 90_000
    assert finds(FAULT, [grown]) == grown
    assert open_then(FAULT, [grown]) is None


def test_rows_become_points_in_order_of_time(tmp_path):
    """Two pods, two minutes; what is not a number is no point; a pod's faults are its own."""
    folder = tmp_path / "rca_data" / "2023-01-29" / "metric"
    folder.mkdir(parents=True)
    for pod, share in (("a-service-1-x", "5"), ("b-service-1-y", "NaN")):
        table = f"TimeStamp,PodName,CpuUsageRate(%)\n{ONSET // 1000},{pod},{share}\n{ONSET // 1000 + 60},{pod},7\n"
        (folder / f"{pod}.csv.gz").write_bytes(gzip.compress(table.encode()))
    (tmp_path / "labels.csv").write_text(f"onset_utc,service,type\n2023-01-29T09:00:00Z,a-service,{CPU}\n")
    (tmp_path / "ignore_windows.csv").write_text("service,start_utc,end_utc\n")
    made = records(tmp_path)
    assert [b'"b-service"' in record for record in made] == [False, False, True]
    assert b'"2023-01-29T09:00:00Z"' in made[0]
    first, second = cpu_shares(tmp_path)
    assert first[2].tolist() == [5.0, 7.0]
    assert (first[3], second[3]) == ([(ONSET - 120_000, ONSET + 240_000)], [])
