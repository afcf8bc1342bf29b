import math

import pytest
import torch

from b4r_fast import ops, use_backend
from b4r_fast.backends.cpu.instruction_sets import SUPPORTED

from .native import assert_passes_in, assert_same_bits_for_any_number_of_threads, poison

V, DRAWS = 50, 200_000
COUNTS = torch.arange(V) ** 2
PROBABILITIES = {
    "uniform": torch.full((V,), 1 / V, dtype=torch.float64),
    "popularity": COUNTS.double() / COUNTS.sum(),
    "log_uniform": torch.tensor(
        [math.log((r + 2) / (r + 1)) / math.log(V + 1) for r in range(V)], dtype=torch.float64
    ),
}


@pytest.mark.parametrize("sampler", PROBABILITIES)
def test_rows_come_as_often_as_the_sampler_says(sampler):
    counts = COUNTS if sampler == "popularity" else None
    rows, log_q = ops.sample_negatives(
        DRAWS, V, sampler=sampler, counts=counts, seed=torch.tensor(2)
    )
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


def draw(shape: tuple[int, ...], num_items: int, sampler: str, seed: int) -> torch.Tensor:
    # Rows without a count, at both ends and in between, are never drawn.
    counts = (
        (torch.arange(num_items) % 5) * ((num_items - torch.arange(num_items)) % 3)
        if sampler == "popularity"
        else None
    )
    return ops.sample_negatives(
        shape, num_items, sampler=sampler, counts=counts, seed=torch.tensor(seed)
    )[0]


def draws_agree_with_the_reference():
    # An odd number; one and many tasks; a table of few rows, powers of two and their neighbours,
    # and ten million.
    shapes = [(1,), (3,), (63,), (64, 3), (10_001,)]
    for sampler, smallest in (("uniform", 1), ("log_uniform", 1), ("popularity", 5)):
        for num_items in (smallest, smallest + 1, 255, 256, 257, 3416, 10_000_000):
            if sampler == "popularity" and num_items == 10_000_000:
                num_items = 100_000
            for shape, seed in zip(shapes, (1, -1, 1 << 40, 5, 6), strict=True):
                ours = draw(shape, num_items, sampler, seed)
                with use_backend("reference"):
                    assert torch.equal(ours, draw(shape, num_items, sampler, seed)), (
                        sampler,
                        num_items,
                        shape,
                    )
    # A difference by rounding would show in few draws.
    for num_items in (99, 2**40):
        ours = draw((1_000_000,), num_items, "log_uniform", 3)
        with use_backend("reference"):
            assert torch.equal(ours, draw((1_000_000,), num_items, "log_uniform", 3))


@pytest.mark.parametrize("isa", SUPPORTED)
def test_every_instruction_set_draws_the_rows_of_the_reference(isa):
    assert_passes_in(isa, draws_agree_with_the_reference)


@pytest.mark.parametrize("sampler", PROBABILITIES)
def test_everything_is_written_for_any_number_of_threads(sampler, monkeypatch):
    poison(monkeypatch)
    assert_same_bits_for_any_number_of_threads(lambda: [draw((9, 1111), 77, sampler, 3)])
    assert draw((9, 1111), 77, sampler, 3).min() >= 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_negatives": 0}, "num_negatives must be at least 1"),
        ({"num_items": 0}, "num_items must be at least 1"),
        ({"sampler": "zipf"}, "sampler must be one of"),
        ({"sampler": "popularity"}, "counts must be given for sampler='popularity'"),
        (
            {"sampler": "popularity", "counts": torch.zeros(5, dtype=torch.int64)},
            "at least one must be positive",
        ),
        (
            {"sampler": "popularity", "counts": torch.ones(4, dtype=torch.int64)},
            r"counts must have shape \(num_items\)",
        ),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        ops.sample_negatives(**{"num_negatives": 3, "num_items": 5} | arguments)
