"""What a run takes of memory at least."""

import pytest

from b4r_fast import BERT4Rec, BERT4RecConfig


@pytest.mark.parametrize("loss", ["full", "sampled"])
def test_the_least_is_nearly_all_that_weights_and_moments_take(loss):
    from b4r_fast.training.memory import least_bytes

    config = BERT4RecConfig(num_items=500, hidden_size=64, num_layers=3, loss=loss)
    weights = sum(weight.numel() for weight in BERT4Rec(config).parameters())
    negatives = 1024 * (8 + 4 * 64) if loss == "sampled" else 0
    assert 0.9 < least_bytes(config) / (4 * 4 * weights + negatives) <= 1
