"""y = GELU(x w1^T + b1) w2^T + b2: x (T, d), w1 (f, d), w2 (d, f). docs/gelu_ffn.md.

Backward recomputes u = x w1^T + b1: da = dy w2, du = da GELU'(u), dx = du w1, dw1 = du^T x, db1 =
sum du, dw2 = dy^T GELU(u), db2 = sum dy.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import gelu, linear


def gelu_ffn(x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, approximate: str) -> Tensor:
    return linear(gelu(linear(x, w1, b1), approximate=approximate), w2, b2)


def gelu_ffn_backward(
    dy: Tensor, x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, approximate: str
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    u = linear(x, w1, b1)
    du = torch.ops.aten.gelu_backward(dy @ w2, u, approximate=approximate)
    return du @ w1, du.T @ x, du.sum(0), dy.T @ gelu(u, approximate=approximate), dy.sum(0)


OPERATORS = (gelu_ffn, gelu_ffn_backward)
