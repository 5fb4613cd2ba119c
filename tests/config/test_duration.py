"""Durations as people write them, against the standard library's timedelta."""

from datetime import timedelta

import pytest

from anomaly.config.duration import seconds


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("250ms", timedelta(milliseconds=250)),
        ("30s", timedelta(seconds=30)),
        ("5m", timedelta(minutes=5)),
        ("1.5h", timedelta(hours=1.5)),
        ("1h30m", timedelta(hours=1, minutes=30)),
        ("2d", timedelta(days=2)),
        ("1w", timedelta(weeks=1)),
        (" 0s ", timedelta()),
    ],
)
def test_a_duration_is_read_as_it_is_written(text: str, meant: timedelta):
    assert seconds(text) == pytest.approx(meant.total_seconds())


@pytest.mark.parametrize("text", ["", "30", "s", "-5s", "5 parsecs", "1h 30m", "1e3s", "5M", "٣s", "1:30"])
def test_what_is_no_duration_is_refused_with_the_remedy(text: str):
    with pytest.raises(ValueError, match="write it with a unit"):
        seconds(text)
