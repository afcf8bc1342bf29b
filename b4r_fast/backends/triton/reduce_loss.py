"""The sum of the rows' losses, or the mean over those with a target: one program, as
there are few.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

ROWS = 1024  # that the program takes at once


@triton.jit(do_not_specialize=("N",))
def _kernel(p_loss, p_targets, p_totals, N, MEAN: tl.constexpr, ROWS: tl.constexpr):
    total = tl.zeros((ROWS,), tl.float32)
    count = tl.zeros((ROWS,), tl.int32)
    for start in range(0, N, ROWS):
        rows = start + tl.arange(0, ROWS)
        total += tl.load(p_loss + rows, rows < N, other=0.0)
        count += (tl.load(p_targets + rows, rows < N, other=-1) >= 0).to(tl.int32)
    weight = 1.0
    if MEAN:
        weight = 1.0 / tl.maximum(tl.sum(count, 0), 1).to(tl.float32)
    tl.store(p_totals, tl.sum(total, 0) * weight)
    tl.store(p_totals + 1, weight)
    tl.store(p_totals + 2, 1.0)


def totals(loss: Tensor, targets: Tensor, mean: bool) -> Tensor:
    """The losses' sum or mean, what a row counts in it, and 1."""
    totals = loss.new_empty(3)
    _kernel[(1,)](loss, targets, totals, loss.shape[0], MEAN=mean, ROWS=ROWS)
    return totals


def reduce_loss(loss: Tensor, targets: Tensor, mean: bool) -> tuple[Tensor, Tensor]:
    total, weight, _ = totals(loss.contiguous(), targets.contiguous(), mean).unbind()
    return total, weight


OPERATORS = (reduce_loss,)
