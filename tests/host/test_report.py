"""The report of a replay: one file that needs nothing else, in which telemetry is text and no spike is lost."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from anomaly.config.models import Direction, Signal
from anomaly.correlate.incident import Incident, State
from anomaly.detect.anomaly import Anomaly, Event
from anomaly.dispatch.alert import Alert, Severity, What
from anomaly.host import labelled
from anomaly.host.history import History, duration
from anomaly.host.plot import Span, plot
from anomaly.host.report import page
from anomaly.host.tracks import Seen

START = labelled.ms("2024-03-01 00:00:00")
MINUTE = 60_000
EVIL = '<img src="http://evil.example/x" onerror="alert(1)">'


def told(event: What, key: str, time: int, group: str = "web", title: str = "web: slow") -> Alert:
    """An alert about `key`, at `time` (ms)."""
    ended = labelled.iso(time) if event is What.RESOLVE else None
    return Alert(
        event=event, id=f"{key}/{event}", dedup_key=key, time=labelled.iso(time), severity=Severity.CRITICAL, why="why",
        title=title, text=f"{title}\nas on call reads it", environment="default", group=group,
        started_at=labelled.iso(START + 10 * MINUTE), ended_at=ended, confidence="high: learned 3 days",
    )  # fmt: skip


def incident(key: str, group: str = "web", metric: str = "load") -> Incident:
    """An incident of one anomaly, from minute 10 to minute 20."""
    anomaly = Anomaly(
        id=key, event=Event.CLOSE, time=START + 20 * MINUTE, environment="default", group=group, metric=metric,
        quantity="value", labels=(), instance=(), aggregate=False, unit="", signal=Signal.OTHER, spec="default", pages=False,
        direction=Direction.ABOVE, started=START + 10 * MINUTE, ended=START + 20 * MINUTE, score=9.0, observed=9.0,
        current=1.0, expected=(0.5, 1.5), events=None, bad=False, learned=3 * 86_400.0, points=(),
    )  # fmt: skip
    return Incident(
        dedup_key=key, environment="default", group=group, started=anomaly.started, time=anomaly.time,
        state=State.RESOLVED, anomalies={key: anomaly},
    )  # fmt: skip


def history(group: str = "web", title: str = "web: slow") -> History:
    """One hour of one series, one incident that ended and one that lasts."""
    found = History([f"data/{group}.csv"], points=60, begins=START, ends=START + 59 * MINUTE)
    times = START + MINUTE * np.arange(60)
    ill = (times >= START + 10 * MINUTE) & (times < START + 20 * MINUTE)
    usual = np.full(60, 0.5), np.full(60, 1.5)
    found.tracks[incident("a", group).anomalies["a"].key] = Seen(
        times, np.where(ill, 9.0, 1.0), *usual, np.where(ill, 9.0, 0.0)
    )
    found.take([(incident("a", group), told(What.TRIGGER, "a", START + 11 * MINUTE, group, title))])
    found.take([(incident("a", group), told(What.RESOLVE, "a", START + 25 * MINUTE, group, title))])
    found.take([(incident("b", group), told(What.TRIGGER, "b", START + 40 * MINUTE, group, title))])
    return found


class Tags(HTMLParser):
    """Tags with their attributes, and the text, as a browser would find them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(html: str) -> Tags:
    found = Tags()
    found.feed(html)
    return found


def test_the_page_loads_nothing_and_runs_nothing():
    html = page(history())
    tags = parsed(html).tags
    assert not [t for t, _ in tags if t in ("script", "link", "img", "iframe", "object", "image", "use")]
    assert not [a for _, held in tags for a in held if a.startswith("on") or a == "src"]
    assert not re.search(r"https?:|url\(|@import", html)
    assert [held["href"] for t, held in tags if t == "a" and not (held["href"] or "").startswith("#")] == []


def test_whatever_telemetry_says_is_text():
    tags = parsed(page(history(group=EVIL, title=f"{EVIL}: slow")))
    assert "img" not in [t for t, _ in tags.tags]
    assert EVIL in tags.text


def test_every_incident_stands_in_the_table_and_links_to_its_picture():
    tags = parsed(page(history())).tags
    ids = {held["id"] for _, held in tags if "id" in held}
    links = [str(held["href"])[1:] for t, held in tags if t == "a"]
    assert links == ["a", "b"]
    assert set(links) <= ids


def test_what_lasts_is_shown_as_still_open_and_what_ended_with_its_length():
    assert [case.lasted for case in history().cases.values()] == ["15 min", "still open"]
    assert "1 still open" in parsed(page(history())).text


def test_a_series_is_drawn_with_its_usual_range_and_below_it_its_score():
    html = page(history())
    assert html.count("<polygon") == 3  # the whole, and each incident's close-up
    assert len(re.findall(r'aria-label="score of load', html)) == 3


def test_the_same_history_gives_the_same_page():
    assert page(history()) == page(history())


def test_an_empty_history_is_a_page_too():
    assert "Nothing would have been alerted" in page(History([]))


def test_labelled_windows_are_found_by_alerts_within_them_and_the_rest_is_outside(tmp_path: Path):
    found = history()
    file = tmp_path / "labels.json"
    day = "2024-03-01 00:"
    windows = [[f"{day}05:00", f"{day}30:00.000000"], [f"{day}45:00", f"{day}50:00"]]
    file.write_text(json.dumps({"data/web.csv": windows}))
    verdicts = labelled.judge(labelled.read(str(file)), ["/somewhere/data/web.csv"], found.cases.values())
    counts = verdicts.counts()
    assert (counts["windows"], counts["found"], counts["outside_windows"]) == (2, 1, 1)
    assert counts["delays"] == [{"group": "web", "start": "2024-03-01T00:05:00.000Z", "delay_s": 360.0}]
    found.verdicts = verdicts
    text = parsed(page(found)).text
    assert "1 of 2" in text
    assert "missed" in text


def test_labels_are_not_taken_from_a_file_of_another_folder():
    labels = {"other/web.csv": [(START, START + MINUTE)]}
    assert labelled.windows_of(labels, "data/web.csv") == []


def test_a_spike_of_one_point_among_a_million_is_drawn():
    times = START + 1000 * np.arange(1_000_000)
    values = np.zeros(times.size)
    values[123_456] = 100.0
    svg = plot((times, values), [], [], "x")
    heights = [float(y) for y in re.findall(r",([\d.]+)", "".join(re.findall(r'points="([^"]*)"', svg)))]
    assert min(heights) < 20.0
    assert len(svg) < 100_000


def test_a_line_breaks_where_the_series_was_silent():
    times = START + MINUTE * np.array([0, 1, 2, 3, 60, 61, 62])
    assert plot((times, np.ones(7)), [], [], "x").count("<polyline") == 2


@pytest.mark.parametrize("values", [[], [1.0], [np.nan, np.nan], [np.inf, 1.0, -np.inf], [0.0, 0.0], [1e300, -1e300]])
def test_no_values_break_the_drawing(values: list[float]):
    times = START + MINUTE * np.arange(len(values))
    svg = plot((times, np.array(values)), [Span(START, START + MINUTE, "band", "", 0.0, np.inf)], [], "x")
    assert "nan" not in svg
    assert "inf" not in svg
    parsed(svg)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (3600, "1 h"), (90_000, "1 d 1 h"), (93_599, "1 d 1 h")],
)
def test_a_duration_is_said_in_at_most_two_units(seconds: float, said: str):
    assert duration(seconds) == said
