"""Glue to csrc/cuda/topk.cu, which has the algorithm."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import implementation
from ..addresses import addresses, contiguous
from .module import native, stream
from .scored_items import excluded, scored_items


def topk(
    hidden: Tensor,
    items: Tensor,
    bias: Tensor | None,
    k: int,
    exclude: Tensor | None,
    exclude_offsets: Tensor | None,
    candidates: Tensor | None,
) -> tuple[Tensor, Tensor]:
    if candidates is not None or k > native.MOST_KEPT or hidden.shape[1] > native.MOST_COLUMNS:
        others = implementation("topk", hidden, besides="cuda")
        return others(hidden, items, bias, k, exclude, exclude_offsets, candidates)
    hidden, items, bias = contiguous(hidden, items, bias)
    n = hidden.shape[0]
    scored, splits = scored_items(hidden, items, bias, native.users_of_block(n, k))
    lists, offsets = excluded(exclude, exclude_offsets, items.shape[0])
    best, rows = (torch.empty(shape, dtype=torch.int64, device=hidden.device) for shape in ((n, splits, k), (n, k)))
    scores = hidden.new_empty((n, k))
    native.topk(scored, k, *addresses(lists, offsets, best, scores, rows), stream(hidden))
    return scores, rows
