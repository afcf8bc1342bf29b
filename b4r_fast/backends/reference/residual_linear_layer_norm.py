"""y = LN(x + Dropout(s)) with s = a w^T + b: linear and residual_layer_norm, those of whatever
backend serves.
"""

from __future__ import annotations

from torch import Tensor

from .. import implementation


def residual_linear_layer_norm(
    a: Tensor,
    w: Tensor,
    b: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    dropout_p: float,
    seed: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    sublayer = implementation("linear", a)(a, w, b)
    y, mean, rstd = implementation("residual_layer_norm", x)(
        x, sublayer, weight, bias, eps, dropout_p, seed
    )
    return y, sublayer, mean, rstd


def residual_linear_layer_norm_backward(
    dy: Tensor,
    a: Tensor,
    w: Tensor,
    x: Tensor,
    sublayer: Tensor,
    weight: Tensor,
    mean: Tensor,
    rstd: Tensor,
    *dropout,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    norm_backward = implementation("residual_layer_norm_backward", x)
    dx, dsublayer, dweight, dbias = norm_backward(dy, x, sublayer, weight, mean, rstd, *dropout)
    da, dw, db = implementation("linear_backward", a)(dsublayer, a, w)
    return da, dw, db, dx, dweight, dbias


OPERATORS = (residual_linear_layer_norm, residual_linear_layer_norm_backward)
