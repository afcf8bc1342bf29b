"""The sum of the rows' losses, or the mean over those with a target, 0 where there is none.
docs/softmax_loss.md.
"""

from __future__ import annotations

import torch
from torch import Tensor


def weight_of_a_row(targets: Tensor, mean: bool, dtype: torch.dtype) -> Tensor:
    """What a row counts in the loss of all, (): 1, or in their mean one by the number of those with
    a target.
    """
    if not mean:
        return torch.ones((), dtype=dtype, device=targets.device)
    return (targets >= 0).sum().clamp(min=1).to(dtype).reciprocal()


def sum_of_rows(loss: Tensor) -> Tensor:
    """In pieces: torch cuts more than 32,768 numbers by its threads, and the bits with them."""
    return torch.stack([piece.sum() for piece in loss.split(1 << 14)]).sum()


def reduce_loss(loss: Tensor, targets: Tensor, mean: bool) -> tuple[Tensor, Tensor]:
    """The sum or mean of the losses (), and what a row counts in it ()."""
    weight = weight_of_a_row(targets, mean, loss.dtype)
    return sum_of_rows(loss) * weight, weight


OPERATORS = (reduce_loss,)
