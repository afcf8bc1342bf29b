"""y = x w^T + b: x (T, in), w (out, in), b (out,). docs/linear.md. Backward: dx = dy w, dw = dy^T
x, db = sum dy.
"""

from __future__ import annotations

import torch
from torch import Tensor


def linear(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    return torch.nn.functional.linear(x, w, b)


def linear_backward(dy: Tensor, x: Tensor, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return dy @ w, dy.T @ x, dy.sum(0)


OPERATORS = (linear, linear_backward)
