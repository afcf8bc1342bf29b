"""Glue to csrc/cpu/sample_negatives.cpp, which has the samplers."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..reference.sample_negatives import EXP2_TAYLOR, with_log_q
from .instruction_sets import native


def sample_negatives(
    shape: list[int], num_items: int, sampler: str, counts: Tensor | None, seed: Tensor
) -> tuple[Tensor, Tensor]:
    rows = seed.new_empty(shape)
    draws, last = (rows.data_ptr(), rows.numel()), (int(seed), torch.get_num_threads())
    if sampler == "log_uniform":
        # The reference's own coefficients: the rows are its rows wherever the two run.
        coefficients = torch.tensor(EXP2_TAYLOR, dtype=torch.float64)
        native.sample_log_uniform(
            *draws, num_items, math.log2(num_items + 1), coefficients.data_ptr(), *last
        )
    elif counts is None:
        native.sample_uniform(*draws, num_items, *last)
    else:
        cumulative = counts.cumsum(0)
        native.sample_popularity(*draws, cumulative.data_ptr(), num_items, *last)
    return with_log_q(rows, num_items, sampler, counts)


OPERATORS = (sample_negatives,)
