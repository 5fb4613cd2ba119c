"""Jobs that run by the clock, from a gauge that is 1 while one runs: what people are told of ordinary runs, and of odd ones.

A timeline is when a job runs: begin and end of each run in seconds; expected are the days on which somebody is told of it.
A job that is missed, doubled or late to end is not found yet: for a model of values a gauge of a usual value is usual.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from tests.host.test_replay import START, write

from anomaly.config.load import load_specs
from anomaly.config.settings import Settings
from anomaly.dispatch.alert import Severity
from anomaly.host.replay import run

MINUTE, DAY = 60, 86_400
Runs = Iterator[tuple[float, float]]


def quarterly(days: int) -> Runs:
    """Every 15 minutes for about two."""
    rng = np.random.default_rng(1)
    return ((900.0 * i, 900.0 * i + rng.normal(120.0, 8.0)) for i in range(days * 96))


def daily(days: int) -> Runs:
    """At 06:00 for two minutes."""
    return ((DAY * d + 21_600.0, DAY * d + 21_720.0) for d in range(days))


def monthly(days: int) -> Runs:
    """At 22:00 on the last day of the month, for half an hour."""
    ends = [d for d in range(days) if datetime.fromtimestamp(START.timestamp() + (d + 1) * DAY, UTC).day == 1]
    return ((DAY * d + 79_200.0, DAY * d + 81_000.0) for d in ends)


def told(folder: Path, runs: Runs, days: int, step: int) -> list[tuple[int, Severity]]:
    """The days, from 0 on, on which people are told of the job, and how."""
    busy = np.zeros(days * DAY // step)
    for begin, end in runs:
        busy[-int(-begin // step) : -int(-end // step)] = 1.0
    history = run([write(folder, "billing_jobs_active", busy.tolist(), step)], Settings(), load_specs([]))
    begins = [datetime.fromisoformat(case.first.time) - START for case in history.cases.values()]
    return [(b.days, case.worst) for b, case in zip(begins, history.cases.values(), strict=True)]


def test_of_ordinary_runs_every_quarter_of_an_hour_nobody_is_told_once_they_are_known(tmp_path: Path):
    """Nothing after the first day, and never a page."""
    said = told(tmp_path, quarterly(4), 4, 15)
    assert all(day == 0 and worst is not Severity.CRITICAL for day, worst in said)


def test_the_job_of_six_o_clock_is_told_on_its_first_day_at_most(tmp_path: Path):
    said = told(tmp_path, daily(8), 8, 15)
    assert all(day == 0 and worst is not Severity.CRITICAL for day, worst in said)


def test_the_job_of_the_last_day_of_the_month_pages_nobody(tmp_path: Path):
    """It is a ticket each month: what comes once a month is not known to be usual."""
    said = told(tmp_path, monthly(75), 75, 300)
    assert {day for day, _ in said} <= {30, 60}
    assert all(worst is not Severity.CRITICAL for _, worst in said)


@pytest.mark.parametrize("odd", ["missed", "doubled", "overlong"])
def test_a_run_that_is_missed_doubled_or_overlong_is_told_that_day(odd: str, tmp_path: Path):
    runs = list(quarterly(4))
    at = 3 * 96 + 40
    begin, end = runs[at]
    runs[at : at + 1] = {
        "missed": [], "doubled": [(begin, end), (begin + 450.0, end + 450.0)], "overlong": [(begin, end + 1_200.0)]
    }[odd]  # fmt: skip
    assert 3 in [day for day, _ in told(tmp_path, iter(runs), 4, 15)]
