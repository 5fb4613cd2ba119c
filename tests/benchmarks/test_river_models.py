"""What we are measured against does its work: a peer that scores nothing would be no peer."""

import random

import pytest
from benchmarks.peer.river_models import MODELS


@pytest.mark.parametrize("name", MODELS)
def test_a_step_is_scored_above_all_of_the_noise_before_it(name: str) -> None:
    """Two hours of noise around 50, then 80."""
    noise = random.Random(4)
    model = MODELS[name]()
    scores = [model.judge(1_767_225_600 + 10 * i, noise.gauss(50.0, 1.0)) for i in range(720)]
    assert model.judge(1_767_225_600 + 7200, 80.0) > max(scores[100:])
