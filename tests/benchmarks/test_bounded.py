"""A flood in the small, of as many things against its limits as `benchmarks/bounded.py` has in the large."""

from benchmarks.bounded import templates, traces

from anomaly.config.settings import Limits, LogSettings


def test_of_far_too_many_kinds_of_lines_the_limits_hold_and_the_others_are_counted() -> None:
    found = templates(10_000, LogSettings(templates=10, signatures=1_000))

    assert all(0 < held <= found.most[sort] for sort, held in found.held.items())
    assert found.over > 0
    assert found.counted == found.attempted, "each line is counted, if only among others"


def test_of_far_too_many_traces_the_limit_holds_and_the_others_are_counted() -> None:
    found = traces(16_000, Limits(spans=4_096))

    assert 0 < found.held["halves"] <= found.most["halves"]
    assert found.over > 0
    assert found.counted == found.attempted
