"""Glue to csrc/cpu/rank.cpp, which has the maths."""

from __future__ import annotations

import torch
from torch import Tensor

from ..addresses import addresses, contiguous
from .instruction_sets import native


def rank(
    hidden: Tensor,
    items: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    exclude: Tensor | None,
    exclude_offsets: Tensor | None,
) -> Tensor:
    inputs = contiguous(hidden, items, bias, targets, exclude, exclude_offsets)
    n, d = hidden.shape
    ranks = torch.empty(n, dtype=torch.int64)
    native.rank(*addresses(*inputs, ranks), n, items.shape[0], d, torch.get_num_threads())
    return ranks


OPERATORS = (rank,)
