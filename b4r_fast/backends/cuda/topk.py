"""Glue to csrc/cuda/topk.cu, which has the algorithm."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import held_if
from ..addresses import addresses, contiguous
from .module import native, stream
from .scored_items import excluded, scored_items


def _has_kernel(
    hidden: Tensor,
    items: Tensor,
    bias: Tensor | None,
    k: int,
    exclude,
    exclude_offsets,
    candidates: Tensor | None,
) -> bool:
    return candidates is None and k <= native.MOST_KEPT and hidden.shape[1] <= native.MOST_COLUMNS


@held_if(_has_kernel)
def topk(
    hidden: Tensor,
    items: Tensor,
    bias: Tensor | None,
    k: int,
    exclude: Tensor | None,
    exclude_offsets: Tensor | None,
    candidates: Tensor | None,
) -> tuple[Tensor, Tensor]:
    hidden, items, bias = contiguous(hidden, items, bias)
    n = hidden.shape[0]
    scored, splits = scored_items(hidden, items, bias, native.rows_of_block(n, k))
    lists, offsets = excluded(exclude, exclude_offsets, items.shape[0])
    best, rows = (
        torch.empty(shape, dtype=torch.int64, device=hidden.device)
        for shape in ((n, splits, k), (n, k))
    )
    scores = hidden.new_empty((n, k))
    native.topk(scored, k, *addresses(lists, offsets, best, scores, rows), stream(hidden))
    return scores, rows


OPERATORS = (topk,)
