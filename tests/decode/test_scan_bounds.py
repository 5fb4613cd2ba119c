"""No scanner of text or of remote write reads or writes outside its arrays: run where every index is checked."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# `whole` is a good record; `bare_block` makes a block of one without a byte to spare past what a scanner may load.
FUZZ = """
import sys
import cramjam
import numpy as np
from random import Random
from anomaly.compiled import CHECKED
from anomaly.config.settings import IdentitySettings
from anomaly.decode import prometheus_bodies, prometheus_json, prometheus_scan, telegraf_json
from anomaly.decode.catalog import Catalog
from anomaly.decode.identity import Identity
from anomaly.decode.records import Records

assert CHECKED

def bare_block(value):
    records = Records.of([value])
    records.buffer = np.concatenate([np.frombuffer(value, np.uint8), np.zeros(8, np.uint8)])
    return records

def prometheus(value):
    return prometheus_json.Messages(bare_block(value), np.uint64(1)).form[0] != 0

def telegraf(value):
    return telegraf_json.Fields(bare_block(value), np.uint64(1)).form[0] != 0

def remote_write(value):
    room = 8
    body, at = np.concatenate([np.frombuffer(value, np.uint8), np.zeros(8, np.uint8)]), np.zeros(1, np.int64)
    form, used = np.zeros(1, np.uint8), np.zeros(3, np.int64)
    many = np.empty(room, np.uint64), np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int32)
    each = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.uint64)
    sizes = np.array([len(value)], np.int64)
    good = prometheus_scan.scan(body, at, sizes, np.uint64(1), form, used, *many, *each, np.empty((3, room), np.int64))
    return good and form[0] != 0

JSON = b'{"labels":{"job":"a b"},"name":"up","timestamp":"2026-01-01T00:00:00.25Z","value":"-1234567890.123e-5"}'
METRIC = (b'{"fields":{"a":91.5,"b":-7,"c":true,"d":"text of some length","e":null},"name":"cpu",'
          b'"tags":{"host":"h"},"timestamp":1767225600}')
LABEL = bytes([0x0A, 9, 0x0A, 2]) + b"aa" + bytes([0x12, 3]) + b"bbb"
SAMPLE = bytes([0x12, 16, 0x09]) + bytes(7) + bytes([0x40, 0x10]) + bytes([0x80, 0xD8, 0x8E, 0xE1, 0xB7, 0x33])
SERIES = LABEL * 3 + SAMPLE * 2
REQUEST = bytes([0x0A, len(SERIES)]) + SERIES + bytes([0x1A, 4, 8, 1, 0x12, 0, 0x0A, 13]) + LABEL + bytes([0x22, 0])
whole, scan = {"prometheus": (JSON, prometheus), "telegraf": (METRIC, telegraf), "remote_write": (REQUEST, remote_write)}[
    sys.argv[1]
]
assert scan(whole)
random, taken = Random(1), 0
for cut in range(1, len(whole)):
    scan(whole[:cut])
for _ in range(20_000):
    value = bytearray(whole)
    for _ in range(random.randint(1, 4)):
        byte = random.choice([0, 1, 8, 34, 44, 92, 123, 125, 0x7F, 0x80, 0xFF, random.randrange(256)])
        value[random.randrange(len(value))] = byte
    del value[random.choice([len(value), random.randrange(1, len(value))]) :]
    taken += bool(scan(bytes(value)))
print("taken", taken)
"""


@pytest.mark.parametrize("encoding", ["prometheus", "telegraf", "remote_write"])
def test_no_damage_makes_a_scanner_leave_its_arrays(encoding: str):
    """numba checks no bounds by itself; here it does, and an index outside would raise."""
    environment = os.environ | {"ANOMALY_BOUNDSCHECK": "1"}
    done = subprocess.run(
        [sys.executable, "-c", FUZZ, encoding],
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout.split()[1]) > 100  # damage in a text or a number is none to the scanner
