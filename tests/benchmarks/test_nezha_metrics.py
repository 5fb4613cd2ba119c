"""Which alerts count, by a timeline made by hand."""

import gzip

from benchmarks.nezha_metrics import CPU, cpu_shares, records
from benchmarks.nezha_read import Fault, clean

from anomaly.host.labelled import ms

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
