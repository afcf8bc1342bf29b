"""y = Dropout(LN(z) weight + bias) with z = items[values] + position_table[positions]. docs/embedding_layer_norm.md.

Backward: the layer norm's on dy keep / keep_rate, then ditems[values] += dz and dposition_table[positions] += dz.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .philox import keep_scale
from .residual_layer_norm import layer_norm, layer_norm_backward


def embedding_layer_norm(
    values: Tensor,
    positions: Tensor,
    items: Tensor,
    position_table: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    dropout_p: float,
    seed: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    y, mean, rstd = layer_norm(items[values] + position_table[positions], weight, bias, eps)
    return y * keep_scale(seed, dropout_p, y), mean, rstd


def embedding_layer_norm_backward(
    dy: Tensor,
    values: Tensor,
    positions: Tensor,
    items: Tensor,
    position_table: Tensor,
    weight: Tensor,
    mean: Tensor,
    rstd: Tensor,
    dropout_p: float,
    seed: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    z = items[values] + position_table[positions]
    dz, dweight, dbias = layer_norm_backward(dy * keep_scale(seed, dropout_p, dy), z, mean, rstd, weight)
    ditems = torch.zeros_like(items).index_add_(0, values, dz)
    dposition_table = torch.zeros_like(position_table).index_add_(0, positions, dz)
    return ditems, dposition_table, dweight, dbias
