"""Item rows drawn with replacement from [0, V): uniform, proportional to counts, or log-uniform.
docs/sample_negatives.md.

Everything is integer arithmetic or plain IEEE double operations in a stated order, so every backend
draws the same rows.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .philox import random_fractions, random_integers

# 2^f = sum of (f ln 2)^n / n!, to 6e-14 on [0, 1).
EXP2_TAYLOR = tuple(math.log(2) ** n / math.factorial(n) for n in range(14))


def sample_negatives(
    shape: list[int], num_items: int, sampler: str, counts: Tensor | None, seed: Tensor
) -> tuple[Tensor, Tensor]:
    count = math.prod(shape)
    if sampler == "log_uniform":
        rows = _log_uniform(random_fractions(seed, count), num_items)
    elif counts is None:
        rows = random_integers(seed, count) % num_items
    else:
        cumulative = counts.cumsum(0)
        rows = torch.searchsorted(
            cumulative, random_integers(seed, count) % cumulative[-1:], right=True
        )
    return with_log_q(rows.reshape(shape), num_items, sampler, counts)


def with_log_q(
    rows: Tensor, num_items: int, sampler: str, counts: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The rows, and log(K q), float32: K the last size, q the probability of each row under the
    sampler.
    """
    draws = rows.shape[-1]
    if sampler == "uniform":
        return rows, torch.full(rows.shape, math.log(draws / num_items), device=rows.device)
    if counts is None:
        expected = torch.log1p(1.0 / (rows + 1.0).double()) * (draws / math.log(num_items + 1))
    else:
        expected = counts[rows] * (draws / counts.sum().double())
    return rows, expected.log().float()


def _log_uniform(u: Tensor, num_items: int) -> Tensor:
    """floor((V + 1)^u) - 1: row r has probability log((r + 2) / (r + 1)) / log(V + 1). Every
    product and sum is rounded on its own.
    """
    exponent = u * math.log2(num_items + 1)
    whole = exponent.floor()
    fraction = exponent - whole
    power = torch.full_like(fraction, EXP2_TAYLOR[-1])
    for coefficient in reversed(EXP2_TAYLOR[:-1]):
        power = power * fraction + coefficient
    return (torch.ldexp(power, whole).floor().long() - 1).clamp(0, num_items - 1)


OPERATORS = (sample_negatives,)
