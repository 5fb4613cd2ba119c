"""One problem or two, by few traces of many."""

from itertools import product
from math import prod

import pytest

from anomaly.correlate.problems import at_most


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 1.0])
def test_the_lower_tail_is_the_sum_over_all_that_may_come(p: float):
    """Of seven draws, each of 128 outcomes with its probability."""
    for k in range(8):
        every = (prod(p if hit else 1.0 - p for hit in one) for one in product((0, 1), repeat=7) if sum(one) <= k)
        assert at_most(k, 7, p) == pytest.approx(sum(every), abs=1e-12)
