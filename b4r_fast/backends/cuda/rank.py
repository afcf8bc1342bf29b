"""Glue to csrc/cuda/rank.cu, which has the algorithm."""

from __future__ import annotations

from torch import Tensor

from .. import held_if
from ..addresses import addresses, contiguous
from .module import native, stream
from .scored_items import excluded, scored_items


@held_if(lambda hidden, *_: hidden.shape[1] <= native.MOST_COLUMNS)
def rank(
    hidden: Tensor,
    items: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    exclude: Tensor | None,
    exclude_offsets: Tensor | None,
) -> Tensor:
    hidden, items, bias, targets = contiguous(hidden, items, bias, targets)
    scored, splits = scored_items(hidden, items, bias, native.ROWS_OF_RANK)
    counts = targets.new_empty((splits, targets.shape[0]))
    native.count_not_below(scored, *addresses(targets, counts), stream(hidden))
    ranks = counts.sum(0)
    lists, offsets = excluded(exclude, exclude_offsets, items.shape[0])
    if lists is not None:
        native.subtract_excluded(scored, *addresses(targets, lists, offsets, ranks), stream(hidden))
    return ranks


OPERATORS = (rank,)
