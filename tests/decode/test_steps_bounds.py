"""The kernels that close traces stay within their arrays, whatever senders make of ids, parents and times."""

import os
import subprocess
import sys
from pathlib import Path

FUZZ = """
import numpy as np
from anomaly.decode.steps_close import closed
from anomaly.decode.steps_events import EVENT, in_words
from anomaly.decode.steps_held import Traced
from anomaly.decode.steps_numbers import numbered
from anomaly.decode.steps_walk import take_out

steps = 0
for turn in range(150):
    random = np.random.default_rng(turn)
    rows = np.zeros(random.integers(1, 9) ** 2, EVENT)
    wide = 2 ** random.integers(1, 6)
    for name in ("span", "parent", "group", "what", "start"):  # parents that are their own children among them
        rows[name] = random.integers(0, wide, rows.size)
    rows["key"] = random.integers(1, wide, rows.size) * 2 + 1 if turn % 3 else 1
    rows["end"] = random.integers(0, 40_000, rows.size)
    rows["duration"] = random.integers(-1, 10 ** random.integers(1, 13), rows.size)
    rows["type"], rows["kind"] = random.integers(0, 2, rows.size), random.integers(0, 6, rows.size)
    rows["mute"] = random.random(rows.size) < 0.1
    if turn % 7 == 0:
        rows["type"] = turn % 2
    number = numbered(rows["key"])
    expected, inverse = np.unique(rows["key"], return_inverse=True)
    assert number.first.size == expected.size and (rows["key"][number.first][number.of] == rows["key"]).all()
    assert (number.find(np.array([99_999], np.uint64)) == -1).all()
    traces, held = Traced.of_rows(rows), rows.copy()
    over = random.random(number.first.size) < 0.5
    n = np.count_nonzero(over[number.of])
    ended, of = np.empty(n, EVENT), np.empty(n, np.int32)
    take_out(in_words(held), traces.number.of, over, in_words(ended), of)
    assert (ended == rows[over[number.of]]).all() and (held[: rows.size - n] == rows[~over[number.of]]).all()
    for found in closed(rows, np.unique(rows["group"])[::2]).found:
        assert found.many.sum() == len(found.words) and (found.many >= 1).all()
        steps += found.key.size
long = np.zeros(5_000, EVENT)
long["key"], long["type"], long["group"] = 3, 1, 1
long["what"], long["start"] = np.arange(5_000), np.arange(5_000)[::-1] * 10**6
found = closed(long, np.zeros(0, np.uint64)).found[0]
assert found.value.sum() == 5_001
print("steps", steps)
"""


def test_no_trace_makes_a_kernel_leave_its_arrays():
    """numba checks no bounds by itself; here it does, and an index outside would raise."""
    done = subprocess.run(
        [sys.executable, "-c", FUZZ], env=os.environ | {"ANOMALY_BOUNDSCHECK": "1"}, capture_output=True, text=True,
        timeout=280, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout.split()[1]) > 1000
