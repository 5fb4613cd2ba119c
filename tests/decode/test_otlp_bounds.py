"""The scanner never reads or writes outside its arrays: run in a process of its own where every index is checked."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

FUZZ = """
import numpy as np
from random import Random
from tests.decode.otlp_requests import NANO, NOW, Request
from anomaly.compiled import CHECKED
from anomaly.decode import otlp_columns
from anomaly.decode.otlp_describe import scan
from anomaly.decode.records import Records

def request():
    made = Request()
    metrics = made.resource_metrics.add()
    metrics.resource.attributes.add(key="service.name").value.string_value = "shop"
    scope = metrics.scope_metrics.add()
    scope.scope.name = "meter"
    numbers = scope.metrics.add(name="n", unit="1").sum
    numbers.is_monotonic, numbers.aggregation_temporality = True, 2
    held = scope.metrics.add(name="h", unit="s").histogram
    exponential = scope.metrics.add(name="e", unit="s").exponential_histogram
    summary = scope.metrics.add(name="q", unit="s").summary
    for i in range(3):
        point = numbers.data_points.add(time_unix_nano=NOW * NANO, as_int=i, flags=1)
        point.attributes.add(key="pod").value.string_value = "p" * i * 9
        held.data_points.add(time_unix_nano=NOW * NANO, count=6, sum=1.0, bucket_counts=[1, 2, 3], explicit_bounds=[1, 2])
        point = exponential.data_points.add(time_unix_nano=NOW * NANO, count=6, sum=1.0, scale=3, zero_count=i, flags=1)
        point.positive.offset, point.negative.offset = -3, 2
        point.positive.bucket_counts.extend([1, 300, 3])
        point.negative.bucket_counts.extend([2] * i)
        point = summary.data_points.add(time_unix_nano=NOW * NANO, count=6, sum=1.0, flags=1)
        point.attributes.add(key="pod").value.string_value = "p"
        for quantile in (0.5, 0.99)[:i]:
            point.quantile_values.add(quantile=quantile, value=1.5)
    return made.SerializeToString()

def block(value):
    records = Records.of([value])
    records.buffer = np.concatenate([np.frombuffer(value, np.uint8), np.zeros(8, np.uint8)])  # not a byte to spare
    return records

whole, random, taken = request(), Random(1), 0
assert CHECKED
for cut in range(len(whole) + 1):
    taken += scan(block(whole[:cut]), 0).refused[0] == otlp_columns.OK
for _ in range(20_000):
    value = bytearray(whole)
    for _ in range(random.randint(1, 4)):
        value[random.randrange(len(value))] = random.choice([0, 1, 8, 0x7F, 0x80, 0xFF, random.randrange(256)])
    taken += scan(block(bytes(value)), 0).refused[0] == otlp_columns.OK
small = block(whole)
small.value_len[0] = len(whole) + 9  # a length that the buffer does not hold
assert scan(small, 0).refused[0] == otlp_columns.REFUSED
print("taken", taken)
"""


def test_no_damage_makes_the_scanner_leave_its_arrays():
    """numba checks no bounds by itself; here it does, and an index outside would raise."""
    environment = os.environ | {"ANOMALY_BOUNDSCHECK": "1"}
    done = subprocess.run(
        [sys.executable, "-c", FUZZ], env=environment, capture_output=True, text=True, timeout=280, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout.split()[1]) > 1000  # damage in a text or a number is none to the scanner
