"""All four signals over real Kafka, in the short form."""

import pytest
from tests.faults.signals import CALLER, ILL, run

from anomaly.dispatch.alert import What

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]


async def test_metrics_probes_lines_and_spans_give_the_same_in_workers_that_are_killed_as_in_one_pass(
    bootstrap: str,
) -> None:
    """Nothing is lost or told twice; each trouble is told, nobody else's; series and alerts an embedded engine's."""
    outcome = await run(bootstrap)
    assert (outcome.lost, outcome.added) == (0, 0)
    assert outcome.series[0] == outcome.series[1] != set()
    assert outcome.alerts[0] >= outcome.alerts[1]
    told = {group for group, event in outcome.alerts[0] if event is What.TRIGGER}
    # A hundred times as fast as it was lived, who waits for the shop may be told of before it is known whom it calls.
    assert set(ILL) <= told <= {*ILL, CALLER}
