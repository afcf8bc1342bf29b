"""AdamW on the rows that a step names: table[rows] is one step on, all other rows and their moments
stay. docs/adamw_rows.md.
"""

from __future__ import annotations

from torch import Tensor


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
    m = beta1 * exp_avg[rows] + (1 - beta1) * gradient
    v = beta2 * exp_avg_sq[rows] + (1 - beta2) * gradient.square()
    exp_avg[rows], exp_avg_sq[rows] = m, v
    denominator = (v / (1 - beta2**step)).sqrt() + eps
    table[rows] = (1 - lr * weight_decay) * table[rows] - lr / (1 - beta1**step) * m / denominator


OPERATORS = (adamw_rows,)
