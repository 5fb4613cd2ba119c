"""The kernels that judge what traces tell, compiled by use: `compile` cannot wait until a trace of its is closed."""

import numpy as np

from anomaly.config.load import load_specs
from anomaly.config.settings import Settings
from anomaly.decode.block import Announced, Block
from anomaly.decode.identity import Identity
from anomaly.decode.points import Flag, Kind, Points
from anomaly.decode.spans_series import BOUNDS, BUCKETS
from anomaly.decode.steps_series import CELL, NEXT, OPERATION, SELF, STEP, STEPS, WORDS
from anomaly.detect.binomial import upper
from anomaly.detect.detector import Detector


def judge_traces() -> None:
    """A step and a duration, each with a trace, and a tail."""
    identity, who = Identity(Settings().identity), {"service.name": "compile", OPERATION: "call"}
    step = identity.series(STEPS, "1", who | {STEP: "start", NEXT: "end"}, Kind.DELTA)
    lasted = identity.series(SELF, "s", who, Kind.HISTOGRAM_DELTA, BOUNDS)
    points = Points.empty(2, BUCKETS + 2 * WORDS)
    points.series, points.value[:], points.flags[:] = np.array([step.hash, lasted.hash], np.uint64), 1.0, Flag.PART
    points.kind[:], points.time[:] = (step.kind, lasted.kind), CELL
    points.bucket_len[:], points.bucket_at[1] = (WORDS, WORDS + BUCKETS), WORDS
    points.buckets[WORDS] = 1.0
    detector = Detector(0, load_specs(), Settings())
    detector.detect(Block("compile", 0, 0, 0, CELL, 0, points, Announced.of([step, lasted])))
    upper([1.0], [2.0], [1.0], [1.0])
