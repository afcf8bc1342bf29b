"""AdamW on the rows that a step names, which are distinct: docs/adamw_rows.md.

table, exp_avg, exp_avg_sq: (V, d) contiguous, overwritten in rows. rows: (n,) int64. gradient: (n,
d). Computed in fp32. Seven numbers are moved each, for some 12 operations: the memory is the limit.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from .rows import block_columns

ELEMENTS = 2048


@triton.jit(do_not_specialize=("n",))
def _kernel(
    p_table, p_m, p_v, p_rows, p_gradient, n, d, beta1, one_less_beta1, beta2, one_less_beta2, eps,
    step_size, second_scale, decay,
    ROWS: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    places, columns = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, BLOCK_D)
    row = tl.load(p_rows + places, places < n, other=0)
    m_block = (places[:, None] < n) & (columns[None, :] < d)
    o_table = row[:, None] * d + columns[None, :]
    g = tl.load(
        p_gradient + places[:, None].to(tl.int64) * d + columns[None, :], m_block, other=0.0
    ).to(tl.float32)
    m = beta1 * tl.load(p_m + o_table, m_block, other=0.0).to(tl.float32) + one_less_beta1 * g
    v = beta2 * tl.load(p_v + o_table, m_block, other=0.0).to(tl.float32) + one_less_beta2 * g * g
    table = tl.load(p_table + o_table, m_block, other=0.0).to(tl.float32)
    table = decay * table - step_size * m / (tl.sqrt(v * second_scale) + eps)
    dtype = p_table.dtype.element_ty
    tl.store(p_m + o_table, m.to(dtype), m_block)
    tl.store(p_v + o_table, v.to(dtype), m_block)
    tl.store(p_table + o_table, table.to(dtype), m_block)


def adamw_rows(
    table: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    rows: Tensor,
    gradient: Tensor,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    step: int,
) -> None:
    n, d = rows.shape[0], table[:1].numel()
    block_d = block_columns(d)
    block_rows = max(1, ELEMENTS // block_d)
    if n:
        _kernel[(triton.cdiv(n, block_rows),)](
            table, exp_avg, exp_avg_sq, rows.contiguous(), gradient.contiguous(), n, d, beta1,
            1 - beta1, beta2, 1 - beta2, eps,
            lr / (1 - beta1**step), 1 / (1 - beta2**step), 1 - lr * weight_decay, ROWS=block_rows,
            BLOCK_D=block_d,
        )  # fmt: skip


OPERATORS = (adamw_rows,)
