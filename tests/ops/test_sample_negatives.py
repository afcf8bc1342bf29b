import math

import pytest
import torch

from b4r_fast import ops

V, DRAWS = 50, 200_000
COUNTS = torch.arange(V) ** 2
PROBABILITIES = {
    "uniform": torch.full((V,), 1 / V, dtype=torch.float64),
    "popularity": COUNTS.double() / COUNTS.sum(),
    "log_uniform": torch.tensor([math.log((r + 2) / (r + 1)) / math.log(V + 1) for r in range(V)], dtype=torch.float64),
}


@pytest.mark.parametrize("sampler", PROBABILITIES)
def test_rows_come_as_often_as_the_sampler_says(sampler):
    counts = COUNTS if sampler == "popularity" else None
    rows, log_q = ops.sample_negatives(DRAWS, V, sampler=sampler, counts=counts, seed=torch.tensor(2))
    p = PROBABILITIES[sampler]
    seen = torch.bincount(rows, minlength=V)
    assert (seen[p == 0] == 0).all()
    # Chi-squared of 49 degrees of freedom, mean 49, deviation 10: 110 is past one in a million.
    assert ((seen - p * DRAWS).square() / (p * DRAWS)).nan_to_num().sum() < 110
    torch.testing.assert_close(log_q.double(), (p[rows] * DRAWS).log(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sampler", ["uniform", "log_uniform"])
def test_one_item_is_drawn_always(sampler):
    rows, _ = ops.sample_negatives((3, 4), 1, sampler=sampler)
    assert torch.equal(rows, torch.zeros(3, 4, dtype=torch.int64))


def test_ten_million_items_are_all_within_reach():
    rows, _ = ops.sample_negatives(100_000, 10_000_000, sampler="log_uniform", seed=torch.tensor(1))
    assert rows.min() == 0
    assert 9_900_000 < rows.max() < 10_000_000


def test_private_negatives_differ_between_rows():
    rows, log_q = ops.sample_negatives((2, 100), 1000, sampler="uniform")
    assert not torch.equal(rows[0], rows[1])
    assert log_q[0, 0] == pytest.approx(math.log(100 / 1000))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_negatives": 0}, "num_negatives must be at least 1"),
        ({"num_items": 0}, "num_items must be at least 1"),
        ({"sampler": "zipf"}, "sampler must be one of"),
        ({"sampler": "popularity"}, "counts must be given for sampler='popularity'"),
        ({"sampler": "popularity", "counts": torch.zeros(5, dtype=torch.int64)}, "at least one must be positive"),
        ({"sampler": "popularity", "counts": torch.ones(4, dtype=torch.int64)}, r"counts must have shape \(num_items\)"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        ops.sample_negatives(**{"num_negatives": 3, "num_items": 5} | arguments)
