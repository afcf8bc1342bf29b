"""What a sampler's negatives are worth, and who is warned."""

import numpy as np
import pytest
import torch

from b4r_fast import BERT4RecConfig, ops
from b4r_fast.data import Sequences
from b4r_fast.ops.sample_negatives import SAMPLERS
from b4r_fast.training.sampler_fit import warning_of_sampler, worth

ZIPF = (1e6 / np.arange(1, 20_001)).astype(np.int64)
ALIKE = np.full(20_000, 7)


def sequences_with(counts):
    """One user, who did each item so often."""
    values = np.repeat(np.arange(1, len(counts) + 1, dtype=np.int32), counts)
    return Sequences(values, np.array([0]), np.array([len(values)]), len(counts))


@pytest.mark.parametrize("counts", [ZIPF[:300], ALIKE[:300]], ids=["Zipf", "all alike"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sampler_is_worth_what_its_draws_are(sampler, counts):
    """The share of K that is left of K draws is 1 / E[(p / q)^2]."""
    by_popularity = torch.from_numpy(counts) if sampler == "popularity" else None
    rows, log_expected = ops.sample_negatives(
        200_000, len(counts), sampler=sampler, counts=by_popularity, seed=torch.tensor(0)
    )
    q = log_expected.double().exp().numpy() / len(rows)
    p = (counts / counts.sum())[rows.numpy()]
    assert worth(sampler, counts) == pytest.approx(1 / ((p / q) ** 2).mean(), rel=0.05)


def test_items_that_nobody_acts_on_do_not_count():
    assert worth("popularity", np.array([3, 0, 5, 0])) == pytest.approx(1)


@pytest.mark.parametrize(
    ("sampler", "counts", "instead"),
    [
        ("uniform", ZIPF, "log_uniform"),
        ("log_uniform", ZIPF[::-1].copy(), "popularity"),  # not sorted by popularity
        ("log_uniform", ZIPF, None),
        ("popularity", ZIPF, None),
        ("uniform", ALIKE, None),
        ("log_uniform", ALIKE, None),
    ],
)
def test_a_sampler_that_does_not_fit_is_named_with_one_that_does(sampler, counts, instead):
    """Trained with uniform negatives a large catalogue came out worse than untrained."""
    config = BERT4RecConfig(num_items=len(counts), loss="sampled", sampler=sampler)
    warning = warning_of_sampler(config, sequences_with(counts))
    if instead is None:
        assert warning is None
    else:
        assert f"sampler {sampler} does not fit" in warning
        assert f"those of {instead} as" in warning
        assert "\n" not in warning


def test_the_full_loss_has_no_sampler_to_fit():
    config = BERT4RecConfig(num_items=len(ZIPF), sampler="uniform")
    assert warning_of_sampler(config, sequences_with(ZIPF)) is None
