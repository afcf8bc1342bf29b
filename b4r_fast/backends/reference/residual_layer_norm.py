"""y = LN(z) weight + bias with z = x + Dropout(sublayer), rows of d numbers.
docs/residual_layer_norm.md.

Backward, with n = (z - mean) rstd and g = dy weight: dz = rstd (g - avg(g) - n avg(g n)), dx = dz,
dsublayer = dz keep / keep_rate, dweight = sum over rows of dy n, dbias = sum over rows of dy.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .philox import keep_scale


def at_least_fp32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def layer_norm(
    z: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """LN of each row, with its mean and reciprocal standard deviation; all at least fp32."""
    z = at_least_fp32(z)
    mean = z.mean(1)
    centred = z - mean[:, None]
    rstd = (centred.square().mean(1) + eps).rsqrt()
    return centred * rstd[:, None] * weight + bias, mean, rstd


def layer_norm_backward(
    dy: Tensor, z: Tensor, mean: Tensor, rstd: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """(dz, dweight, dbias), at least fp32."""
    dy, n = at_least_fp32(dy), (z - mean[:, None]) * rstd[:, None]
    g = dy * weight
    dz = rstd[:, None] * (g - g.mean(1, keepdim=True) - n * (g * n).mean(1, keepdim=True))
    return dz, (dy * n).sum(0), dy.sum(0)


def residual_layer_norm(
    x: Tensor,
    sublayer: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    dropout_p: float,
    seed: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    y, mean, rstd = layer_norm(
        x + sublayer * keep_scale(seed, dropout_p, sublayer), weight, bias, eps
    )
    return y.to(x.dtype), mean, rstd


def residual_layer_norm_backward(
    dy: Tensor,
    x: Tensor,
    sublayer: Tensor,
    weight: Tensor,
    mean: Tensor,
    rstd: Tensor,
    dropout_p: float,
    seed: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    keep = keep_scale(seed, dropout_p, sublayer)
    dz, dweight, dbias = layer_norm_backward(dy, x + sublayer * keep, mean, rstd, weight)
    return dz.to(x.dtype), (dz * keep).to(x.dtype), dweight.to(x.dtype), dbias.to(x.dtype)


OPERATORS = (residual_layer_norm, residual_layer_norm_backward)
