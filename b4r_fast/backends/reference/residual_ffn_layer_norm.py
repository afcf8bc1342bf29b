"""y = LN(x + Dropout(s)) with s = FFN(x): gelu_ffn and residual_layer_norm, those of whatever
backend serves.
"""

from __future__ import annotations

from torch import Tensor

from .. import implementation


def residual_ffn_layer_norm(
    x: Tensor,
    w1: Tensor,
    b1: Tensor,
    w2: Tensor,
    b2: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    approximate: str,
    *dropout,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    sublayer = implementation("gelu_ffn", x)(x, w1, b1, w2, b2, approximate)
    y, mean, rstd = implementation("residual_layer_norm", x)(
        x, sublayer, weight, bias, eps, *dropout
    )
    return y, sublayer, mean, rstd


def residual_ffn_layer_norm_backward(
    dy: Tensor, x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, sublayer: Tensor, weight: Tensor,
    mean: Tensor, rstd: Tensor,
    approximate: str, *dropout,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    norm_backward = implementation("residual_layer_norm_backward", x)
    dx, dsublayer, dweight, dbias = norm_backward(dy, x, sublayer, weight, mean, rstd, *dropout)
    dx_of_ffn, dw1, db1, dw2, db2 = implementation("gelu_ffn_backward", x)(
        dsublayer, x, w1, b1, w2, approximate
    )
    return dx.add_(dx_of_ffn), dw1, db1, dw2, db2, dweight, dbias


OPERATORS = (residual_ffn_layer_norm, residual_ffn_layer_norm_backward)
