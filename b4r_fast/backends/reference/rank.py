"""rank_i = 1 + the number of items j, not the target and not excluded, with z_ij >= z_it: ties
count against the target. docs/rank.md.

A logit that is not a number counts against the target too, so a broken model never ranks well.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .softmax_loss import logits, row_blocks
from .topk import exclude_from


def rank(
    hidden: Tensor,
    items: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    exclude: Tensor | None,
    exclude_offsets: Tensor | None,
) -> Tensor:
    ranks = torch.empty_like(targets)
    for block in row_blocks(hidden.shape[0], items.shape[0]):
        z = logits(hidden[block], items, bias)
        z_target = z.gather(1, targets[block][:, None])
        not_below = ~(z < z_target)
        exclude_from(not_below, block, exclude, exclude_offsets, False)
        not_below.scatter_(1, targets[block][:, None], True)
        ranks[block] = not_below.sum(1)
    return ranks


OPERATORS = (rank,)
