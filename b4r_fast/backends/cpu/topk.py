"""Glue to csrc/cpu/topk.cpp, which has the maths."""

from __future__ import annotations

import torch
from torch import Tensor

from ..addresses import addresses, contiguous
from .instruction_sets import native


def topk(
    hidden: Tensor,
    items: Tensor,
    bias: Tensor | None,
    k: int,
    exclude: Tensor | None,
    exclude_offsets: Tensor | None,
    candidates: Tensor | None,
) -> tuple[Tensor, Tensor]:
    inputs = contiguous(hidden, items, bias, exclude, exclude_offsets, candidates)
    n, d = hidden.shape
    lists = 0 if candidates is None else 1 if candidates.dim() == 1 else n
    chosen = 0 if candidates is None else candidates.shape[-1]
    scores, rows = hidden.new_empty(n, k), torch.empty(n, k, dtype=torch.int64)
    sizes = (n, items.shape[0], d, k)
    native.topk(
        *addresses(*inputs),
        lists,
        chosen,
        *addresses(scores, rows),
        *sizes,
        torch.get_num_threads(),
    )
    return scores, rows


OPERATORS = (topk,)
