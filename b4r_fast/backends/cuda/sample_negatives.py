"""Glue to csrc/cuda/sample_negatives.cu, which has the samplers."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..reference.sample_negatives import EXP2_TAYLOR
from .module import native, stream


def sample_negatives(
    shape: list[int], num_items: int, sampler: str, counts: Tensor | None, seed: Tensor
) -> tuple[Tensor, Tensor]:
    rows, log_q = seed.new_empty(shape), seed.new_empty(shape, dtype=torch.float32)
    count = rows.numel()
    draws = native.Draws(rows.data_ptr(), log_q.data_ptr(), count, shape[-1], seed.data_ptr())
    if sampler == "log_uniform":
        # The reference's own coefficients: the rows are its rows wherever the two run.
        coefficients = torch.tensor(EXP2_TAYLOR, dtype=torch.float64)
        native.sample_log_uniform(
            draws, num_items, math.log2(num_items + 1), coefficients.data_ptr(), stream(seed)
        )
    elif counts is None:
        native.sample_uniform(draws, num_items, stream(seed))
    else:
        counts, cumulative, guide = (
            counts.contiguous(),
            counts.cumsum(0),
            seed.new_empty(native.guide_size(count, num_items)),
        )
        tensors = counts.data_ptr(), cumulative.data_ptr(), num_items, guide.data_ptr()
        native.sample_popularity(draws, *tensors, stream(seed))
    return rows, log_q


OPERATORS = (sample_negatives,)
