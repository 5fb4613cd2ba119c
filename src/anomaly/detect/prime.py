"""A detector that took history becomes one that is about to begin: it keeps what it learned, and nobody's old trouble.

Anomalies and silences that were open when the history ended are dropped without a word: whoever begins with this state was
never told of them. What of them lasts is found anew, against what was usual before them, for an open episode teaches little.
A group that was silent then is not missed before it has been heard again. Inputs that nobody will read again are forgotten
for the one that is read from now on, and each series has an hour (`limits.idle` / 24) of new data in which to speak, however
long ago the history ended, before those that are no more are forgotten.
"""

import numpy as np
from numpy.typing import NDArray

from anomaly.detect.absence import Absence, Clock, Inputs
from anomaly.detect.detector import NEVER_SWEPT, Detector
from anomaly.detect.episode import OPEN, PENDING
from anomaly.detect.waiting import Waiting
from anomaly.table import Table


def begin_anew(detector: Detector, source: str | None = None) -> None:
    """Make the detector one that reads `source` from now on; None: that goes on with the inputs of the history."""
    _calm(detector)
    if source is not None:
        _read(detector, source)
    detector.counts.clear()
    detector.waiting = Waiting(detector.settings.limits.waiting_points)
    detector.swept, detector.freed = NEVER_SWEPT, 0


def _calm(detector: Detector) -> None:
    """No episode is open, nor about to be, and nobody is silent."""
    for row in sorted(detector.report.open):
        detector.report.ended(row, detector.inputs.time)
        detector.judge.touched[row] = 1
    episodes, live = detector.judge.episodes, detector.judge.episodes.live
    for row in live["row"][(live["phase"] == OPEN) | (live["phase"] == PENDING)].tolist():
        episodes.clear(row)
        detector.judge.touched[row] = 1
    for table, watched in _watched(detector):
        watched["arrivals"][watched["open"] != 0] = 0
        watched["open"] = 0
        table.touched[: table.used] = 1
    detector.report.silent.clear()
    detector.together.calm()
    detector.logs.calm()


def _read(detector: Detector, source: str) -> None:
    """One input, which every group came by, and was heard by until now."""
    time, clocks = detector.inputs.time, detector.absence.clocks.values()
    active = max((clock.active for clock in clocks), default=0.0)
    detector.inputs, detector.absence = Inputs(), Absence(settled=detector.absence.settled)
    detector.inputs.time = time
    detector.inputs.number(source, 0)
    detector.inputs.hear(source, 0, time)
    detector.sources = {source: 0}
    detector.absence.clocks[0] = Clock(time, active)
    for _, watched in _watched(detector):
        held = watched["key"] != 0
        watched["source"][held], watched["through"][held], watched["active"][held] = 0, 0, active


def _watched(detector: Detector) -> list[tuple[Table, NDArray[np.void]]]:
    """Who is watched for silence: groups, and the sites of checks."""
    tables = detector.register.tables
    return [(t, t[name][: t.used]) for t, name in ((tables.groups, "group"), (tables.sites, "site"))]
