"""`anomaly budget`: how the alert budgets stand by the newest checkpoints, without disturbing whoever writes them."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import msgspec

from anomaly.config.models import ModelSpec
from anomaly.config.settings import Settings
from anomaly.dispatch.budget import Reading
from anomaly.dispatch.budgets import Budgets
from anomaly.host.embedded import as_kept
from anomaly.host.stages_alerts import remembered
from anomaly.host.state_command import stores
from anomaly.host.statelog import unpack
from anomaly.host.topics import Names

NOTHING = 3
ROW = "{:24} {:16} {:>9} {:>6} {:>6} {:>6} {:>6} {:>8} {:>10} {:>10}"
MEANING = """\
paged, held (the budget was spent) and under (below evidence or threshold) are of the last 7 days. A page needs a thing as
rare on its series as the threshold, and the evidence, less of a rarer one, and two values; "reach it": so rare, a week."""
HEAD = ("environment", "budget", "a week", "left", "paged", "held", "under", "evidence", "threshold", "reach it")


def command(settings: Settings, specs: Sequence[ModelSpec], json: bool) -> int:
    """Print them; the exit code."""
    return asyncio.run(show(settings, specs, json))


async def show(settings: Settings, specs: Sequence[ModelSpec], json: bool) -> int:
    """A line each, and below it what others would have paged."""
    n = 0
    if not json:
        print(ROW.format(*HEAD))
    async for budgets in kept(settings, specs):
        for reading in budgets.readings():
            print(msgspec.json.encode(reading._asdict()).decode() if json else "\n".join(lines(reading)))
            n += 1
    if not json:
        print(MEANING)
    return 0 if n else NOTHING


def lines(reading: Reading) -> list[str]:
    """For a person."""
    r = reading
    head = ROW.format(
        r.environment[:24], r.name[:16], f"{r.per_week:g}", f"{max(r.left, 0.0):.1f}", r.paged, r.held, r.under,
        f"{r.evidence:.1f}", once(r.threshold), f"{r.rate:.1f}",
    )  # fmt: skip
    other = "  at {:g} per week: {:.1f} pages a week, of what is {} or rarer"
    return [head, *(other.format(o.per_week, o.paged, once(o.threshold)) for o in r.others)]


def once(threshold: float) -> str:
    """A surprise as how often the series does such a thing: once in so many weeks."""
    if threshold == -float("inf"):
        return "any"
    weeks = 10.0**threshold
    return f"1 in {weeks:.1f} w" if weeks >= 1.0 else f"{1 / weeks:.1f} a w"


async def kept(settings: Settings, specs: Sequence[ModelSpec]) -> AsyncIterator[Budgets]:
    """The budgets of each partition."""
    if settings.kafka is None:
        if engine := await as_kept(settings, specs):
            yield engine.budgets(0)
        return
    anomalies = Names.of(settings.kafka.topics.prefix).anomalies
    for place, store in await stores(settings):
        found = await store.read() if place.topic == anomalies else None
        if found is not None:
            budgets = Budgets(settings.alert_budget)
            budgets.load(remembered(unpack(found.bodies[-1][1]).rest).budgets)
            yield budgets
