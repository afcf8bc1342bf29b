"""y = Dropout(LN(z) weight + bias) with z = items[values] + position_table[positions].
docs/embedding_layer_norm.md.

Backward: the layer norm's on dy keep / keep_rate, then ditems[value_rows] += dz and
dposition_table[positions] += dz. value_rows: values themselves for the gradient of the whole table,
or their places among its rows that values name.
"""

from __future__ import annotations

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
    sparse: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    y, mean, rstd = layer_norm(items[values] + position_table[positions], weight, bias, eps)
    return (y * keep_scale(seed, dropout_p, y)).to(items.dtype), mean, rstd


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
    value_rows: Tensor,
    num_rows: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    z = items[values] + position_table[positions]
    dz, dweight, dbias = layer_norm_backward(
        dy * keep_scale(seed, dropout_p, dy), z, mean, rstd, weight
    )
    ditems = dz.new_zeros(num_rows, items.shape[1]).index_add_(0, value_rows, dz)
    dposition_table = dz.new_zeros(position_table.shape).index_add_(0, positions, dz)
    dtype = items.dtype
    return ditems.to(dtype), dposition_table.to(dtype), dweight.to(dtype), dbias.to(dtype)


OPERATORS = (embedding_layer_norm, embedding_layer_norm_backward)
