"""q of some rows, k and v of all: two products with parts of one weight, linear of whatever backend
serves.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .. import implementation


def selected_projection(
    x: Tensor, w: Tensor, b: Tensor, rows: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    linear, x_selected, d = implementation("linear", x), x[rows], w.shape[0] // 3
    return x_selected, linear(x_selected, w[:d], b[:d]), linear(x, w[d:], b[d:])


def selected_projection_backward(
    dx_selected: Tensor | None,
    dq: Tensor,
    djoint: Tensor,
    x: Tensor,
    x_selected: Tensor,
    w: Tensor,
    rows: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    linear_backward, d = implementation("linear_backward", x), w.shape[0] // 3
    dx, *of_joint = linear_backward(djoint, x, w[d:])
    dx_of_q, *of_q = linear_backward(dq, x_selected, w[:d])
    dx.index_add_(0, rows, dx_of_q if dx_selected is None else dx_of_q.add_(dx_selected))
    dw, db = (torch.cat(parts) for parts in zip(of_q, of_joint))
    return dx, dw, db


OPERATORS = (selected_projection, selected_projection_backward)
