"""From results of probes to alerts, also for a team in shadow: two failures in a row page, one blip does not."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import pytest
from tests.detect.feed import IDENTITY, T0, P, columns, series

from anomaly.config.load import load_specs
from anomaly.config.settings import Limits, Settings
from anomaly.decode.block import Announced, Block
from anomaly.decode.identity import Series
from anomaly.decode.points import Kind
from anomaly.dispatch.alert import Alert
from anomaly.engine import Engine

EVERY, TIMES = 30, 60
SUCCESS = series("probe_success", probe="shop", region="eu")
K6 = series("k6_http_req_failed_rate", scenario="browse")
COLLECTOR = series("httpcheck.status", http__status_class="5xx", http__url="http://shop/")
OTHER = series("other", service="other")


def alerts(which: Series, values: Sequence[float], shadow: bool = False, silent_from: int = TIMES) -> list[Alert]:
    """What is told of values, one each EVERY seconds; another service is always heard."""
    engine, told = Engine(Settings(shadow={"default": shadow}), load_specs()), list[Alert]()
    for i, value in enumerate(values):
        points = [P(which, i * EVERY, value)] if i < silent_from else []
        points.append(P(OTHER, i * EVERY + 1.0, 1.0))
        heard = T0 + (i * EVERY + 1) * 1000
        block = Block("metrics", 0, i, i, heard, 10_000, columns(points), Announced.of([which, OTHER] if i == 0 else []))
        events = engine.detect(0, block)
        told += [alert for _, alert in engine.correlate(0, events) if alert]
    return told


Line = Callable[[float], float | None]  # the value at a time, s; None: no result then


def story(lines: Mapping[Series, Line], seconds: int, every: int = EVERY, settings: Settings | None = None) -> list[Alert]:
    """What is told of several series, each asked for its value every `every` seconds; another service is always heard."""
    engine, told, known = (
        Engine(settings or Settings(shadow={"default": False}), load_specs()),
        list[Alert](),
        [OTHER, *lines],
    )
    for i in range(seconds // every):
        values = {s: line(i * every) for s, line in lines.items()}
        points = [P(s, i * every + 0.1 * n, v) for n, (s, v) in enumerate(values.items()) if v is not None]
        points.append(P(OTHER, i * every + 1.0, 1.0))
        heard = T0 + (i * every + 1) * 1000
        block = Block("metrics", 0, i, i, heard, 10_000, columns(points), Announced.of(known if i == 0 else []))
        told += [alert for _, alert in engine.correlate(0, engine.detect(0, block)) if alert]
    return told


def at(alert: Alert) -> float:
    """When it was told, s from the beginning."""
    return datetime.fromisoformat(alert.time).timestamp() - T0 / 1000


def course(failing: Sequence[int], good: float = 1.0, bad: float = 0.0) -> list[float]:
    return [bad if i in failing else good for i in range(TIMES)]


@pytest.mark.parametrize("shadow", [False, True])
@pytest.mark.parametrize(
    ("which", "good", "bad"), [(SUCCESS, 1.0, 0.0), (K6, 0.0, 1.0), (COLLECTOR, 0.0, 1.0)], ids=["blackbox", "k6", "otel"]
)
def test_a_probe_that_fails_twice_pages_and_its_recovery_resolves_it(which: Series, good: float, bad: float, shadow: bool):
    told = alerts(which, course(range(30, 40), good, bad), shadow)
    assert [(a.event.value, a.severity.value) for a in told] == [("trigger", "critical"), ("resolve", "critical")]
    assert "a fault whatever was usual" in str(told[0])


def test_a_probe_that_has_failed_from_its_first_result_pages():
    assert [(a.event.value, a.severity.value) for a in alerts(SUCCESS, [0.0] * TIMES)] == [("trigger", "critical")]


def test_a_single_blip_is_no_alert():
    assert alerts(SUCCESS, course([20, 40])) == []


def test_a_prober_that_falls_silent_is_a_ticket_of_its_own_and_no_failing_service():
    told = alerts(SUCCESS, course([]), silent_from=30)
    assert [(a.event.value, a.severity.value, a.group) for a in told] == [("trigger", "warning", "probes from eu")]
    assert told[0].title.startswith("probes from eu: no results of shop for 3 min (usually every 30 s)")
    assert "whether it would fail is not known" in told[0].why


CHECKED = [series("probe_success", service=name, probe=name, region="eu") for name in ("cart", "web", "pay")]
US = [series("probe_success", service=name, probe=name, region="us") for name in ("cart", "web", "pay")]
OWN = series("http_requests", Kind.GAUGE, service="cart")


def test_a_prober_that_watches_many_services_is_one_ticket_until_all_results_come_again():
    """The services go on, and so does another site; the one ticket names the site, and is over with its last check."""
    lines: dict[Series, Line] = {s: lambda t: None if 900 <= t < 1500 else 1.0 for s in CHECKED}
    lines |= {s: lambda t: 1.0 for s in (*US, OWN)}
    told = story(lines, 2400)
    assert [(a.event.value, a.severity.value, a.group) for a in told] == [
        ("trigger", "warning", "probes from eu"), ("resolve", "warning", "probes from eu"),
    ]  # fmt: skip
    assert at(told[0]) <= 900 + 6 * EVERY
    assert 1500 <= at(told[1]) <= 1500 + 3 * EVERY + 60


def test_a_check_that_is_made_once_an_hour_is_not_missed_between_two_results():
    assert story({CHECKED[0]: lambda t: 1.0 if t % 3600 == 0 else None, OWN: lambda t: 1.0}, 20 * 3600, 60) == []


def test_a_check_taken_out_of_the_configuration_is_a_ticket_that_ends_when_its_series_is_forgotten():
    idle = Settings(limits=Limits(idle=3600.0))
    told = story({CHECKED[0]: lambda t: 1.0 if t < 900 else None, CHECKED[1]: lambda t: 1.0}, 3 * 3600, settings=idle)
    assert [(a.event.value, a.severity.value) for a in told] == [("trigger", "warning"), ("resolve", "warning")]
    assert "series were removed" in told[1].title


def test_a_failing_probe_whose_prober_falls_silent_stays_open_until_a_result_says_that_it_is_well():
    """Missing data is no health: the page lasts through an hour without results, and ends with the first good ones."""
    lines = {CHECKED[0]: lambda t: 1.0 if t < 900 or t >= 5000 else 0.0 if t < 1000 else None, OWN: lambda t: 1.0}
    told = [a for a in story(lines, 7000) if a.group == "cart"]
    assert [(a.event.value, a.severity.value) for a in told] == [("trigger", "critical"), ("resolve", "critical")]
    assert at(told[1]) >= 5000


SITES = [series("probe_success", probe="shop", region=name) for name in ("eu", "us", "asia")]


@pytest.mark.parametrize(
    ("failing", "said"),
    [
        (1, [("trigger", "warning")]),
        (2, [("trigger", "warning"), ("update", "critical")]),
        (3, [("trigger", "warning"), ("update", "critical")]),
    ],
)
def test_one_site_of_three_that_fails_is_a_ticket_and_most_of_them_are_a_page(failing: int, said: list[tuple[str, str]]):
    """All of it is one incident, and the page comes with the second failure of the second site."""
    lines = {s: (lambda t: 0.0 if 900 <= t < 1800 else 1.0) if i < failing else lambda t: 1.0 for i, s in enumerate(SITES)}
    told = story(lines, 3000)
    assert [(a.event.value, a.severity.value) for a in told] == [*said, ("resolve", said[-1][1])]
    assert all(at(a) <= 900 + 2 * EVERY for a in told[:-1])
    assert len({a.dedup_key for a in told}) == 1
    assert "1 of 3 sites" in told[0].why
    assert failing == 1 or "2 of 3 sites" in told[1].title


def test_a_site_that_is_the_only_one_heard_pages_by_itself():
    """The other two have been silent for long when it fails."""
    lines: dict[Series, Line] = {SITES[0]: lambda t: 0.0 if 1800 <= t < 2400 else 1.0, OWN: lambda t: 1.0}
    lines |= {s: lambda t: 1.0 if t < 900 else None for s in SITES[1:]}
    told = [a for a in story(lines, 3600) if a.group == "shop"]
    assert [(a.event.value, a.severity.value) for a in told] == [("trigger", "critical"), ("resolve", "critical")]


DAY, HOUR = 86_400, 3_600
END = "probe_ssl_earliest_cert_expiry"
OURS = IDENTITY.series(END, "", {"service.name": "shop", "probe": "shop-tls", "kind": "tls"}, Kind.GAUGE, ())
BLACKBOX = series(END, service="blackbox", instance="shop.example:443")


def expiry(ends: float, renewed: float = math.inf) -> Line:
    """The end of a certificate, s since the epoch, in so many seconds from the beginning; renewed for 90 days then."""
    return lambda t: T0 / 1000 + (renewed + 90 * DAY if t >= renewed else ends)


@pytest.mark.parametrize("shadow", [False, True])
@pytest.mark.parametrize("which", [OURS, BLACKBOX], ids=["ours", "blackbox"])
def test_a_certificate_that_ends_within_two_weeks_is_one_ticket_until_it_is_renewed(which: Series, shadow: bool):
    """Over a week of results, with a day of rest before: told within two hours, no word a day after, over once renewed."""
    settings = Settings(shadow={"default": shadow})
    told = story({which: expiry(15 * DAY, renewed=6 * DAY)}, 8 * DAY, HOUR, settings)
    assert [(a.event.value, a.severity.value) for a in told] == [("trigger", "warning"), ("resolve", "warning")]
    assert DAY <= at(told[0]) <= DAY + 2 * HOUR
    assert 6 * DAY <= at(told[1]) <= 6 * DAY + 6 * HOUR
    assert "probe_ssl_earliest_cert_expiry of sho" in told[0].title
    assert "is in 14 days" in told[0].title
    assert "90 days" not in told[1].title


def test_a_certificate_of_the_blackbox_exporter_pages_three_days_before_its_end():
    told = story({BLACKBOX: expiry(5 * DAY)}, 3 * DAY, HOUR)
    assert [(a.event.value, a.severity.value) for a in told] == [("trigger", "warning"), ("update", "critical")]
    assert 2 * DAY <= at(told[1]) <= 2 * DAY + 2 * HOUR


def test_a_certificate_of_our_own_check_fails_when_the_check_says_so():
    """Its `left` decides: the end alone is a ticket to its last hour."""
    assert [a.severity.value for a in story({OURS: expiry(2 * DAY)}, 2 * DAY + HOUR, HOUR)] == ["warning"]


def test_a_certificate_that_is_good_for_long_is_no_alert_though_it_is_nearer_every_day():
    assert story({OURS: expiry(60 * DAY, renewed=20 * DAY), BLACKBOX: lambda t: 0.0}, 40 * DAY, 6 * HOUR) == []
