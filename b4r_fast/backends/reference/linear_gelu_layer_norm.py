"""y = LN(GELU(u)) with u = x w^T + b: linear, that of whatever backend serves, and torch's GELU and
norm.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .. import implementation
from .residual_layer_norm import at_least_fp32


def linear_gelu_layer_norm(
    x: Tensor, w: Tensor, b: Tensor, weight: Tensor, bias: Tensor, eps: float, approximate: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    u = implementation("linear", x)(x, w, b)
    a, weight, bias = (
        at_least_fp32(t)
        for t in (torch.nn.functional.gelu(u, approximate=approximate), weight, bias)
    )
    y, mean, rstd = torch.native_layer_norm(a, a.shape[1:], weight, bias, eps)
    return y.to(x.dtype), u, mean.flatten(), rstd.flatten()


def linear_gelu_layer_norm_backward(
    dy: Tensor,
    x: Tensor,
    w: Tensor,
    u: Tensor,
    weight: Tensor,
    mean: Tensor,
    rstd: Tensor,
    approximate: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    a = torch.nn.functional.gelu(u, approximate=approximate)
    dy, a, weight = (at_least_fp32(t) for t in (dy, a, weight))
    statistics = mean[:, None], rstd[:, None]
    da, dweight, dbias = torch.ops.aten.native_layer_norm_backward(
        dy, a, a.shape[1:], *statistics, weight, weight, [True] * 3
    )
    du = torch.ops.aten.gelu_backward(da.to(x.dtype), u, approximate=approximate)
    dx, dw, db = implementation("linear_backward", x)(du, x, w)
    return dx, dw, db, dweight.to(x.dtype), dbias.to(x.dtype)


OPERATORS = (linear_gelu_layer_norm, linear_gelu_layer_norm_backward)
