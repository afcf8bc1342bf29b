"""rank_i = 1 + the number of items j, not the target and not excluded, with z_ij >= z_it: ties
count against the target. docs/rank.md.

A logit that is not a number is -inf, as for topk: both have one order of items.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .residual_layer_norm import at_least_fp32
from .softmax_loss import row_blocks
from .topk import exclude_from, scores


def rank(
    hidden: Tensor,
    items: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    exclude: Tensor | None,
    exclude_offsets: Tensor | None,
) -> Tensor:
    ranks = torch.empty_like(targets)
    hidden, items = at_least_fp32(hidden), at_least_fp32(items)  # halves would tie too often
    for block in row_blocks(hidden.shape[0], items.shape[0]):
        z = scores(hidden[block], items, bias)
        z_target = z.gather(1, targets[block][:, None])
        as_good = z >= z_target
        exclude_from(as_good, block, exclude, exclude_offsets, False)
        as_good.scatter_(1, targets[block][:, None], True)
        ranks[block] = as_good.sum(1)
    return ranks


OPERATORS = (rank,)
