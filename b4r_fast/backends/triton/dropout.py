"""y = x factor, factor 0 or 1 / keep rate from (seed, row, column). Its own backward. x, y: (R, D)
contiguous; two numbers moved each, and a call of Philox, some 70 integer operations, for eight: the
memory is the limit.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .layer_norm import FORWARD_ELEMENTS, blocks
from .philox import dropout_arguments, dropout_factors
from .rows import load_rows, store_rows


@triton.jit(do_not_specialize=("R",))
def _kernel(p_x, p_y, p_seed, R, D, threshold, scale, ROWS: tl.constexpr, BLOCK_D: tl.constexpr):
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    factor = dropout_factors(
        tl.load(p_seed), threshold, scale, rows[:, None], tl.arange(0, BLOCK_D // 8)[None, :], 0
    )
    store_rows(
        p_y, load_rows(p_x, rows, R, D, BLOCK_D).to(tl.float32) * factor, rows, R, D, BLOCK_D
    )


def dropout(x: Tensor, dropout_p: float, seed: Tensor) -> Tensor:
    seed, threshold, scale, drops = dropout_arguments(dropout_p, seed, x)
    if not drops:
        return x.clone()
    x = x.contiguous()
    rows, d = x.shape
    y, extents = torch.empty_like(x), blocks(d, FORWARD_ELEMENTS)
    if rows:
        _kernel[(triton.cdiv(rows, extents["ROWS"]),)](
            x, y, seed, rows, d, threshold, scale, **extents
        )
    return y


OPERATORS = (dropout,)
