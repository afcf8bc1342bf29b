"""Glue to csrc/cpu/embedding_layer_norm.cpp, which has the maths."""

from __future__ import annotations

import torch
from torch import Tensor

from ..addresses import addresses
from .instruction_sets import native, native_dropout


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
    inputs = [t.contiguous() for t in (values, positions, items, position_table, weight, bias)]
    tokens, d = values.shape[0], items.shape[1]
    y, mean, rstd = items.new_empty(tokens, d), items.new_empty(tokens), items.new_empty(tokens)
    sizes = (tokens, d, eps)
    native.embedding_layer_norm(
        *addresses(*inputs, y, mean, rstd),
        *sizes,
        *native_dropout(dropout_p, seed),
        torch.get_num_threads(),
    )
    return y, mean, rstd


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
    inputs = [
        t.contiguous()
        for t in (dy, values, positions, items, position_table, weight, mean, rstd, value_rows)
    ]
    ditems, dposition_table = (
        items.new_empty(num_rows, items.shape[1]),
        items.new_empty(position_table.shape),
    )
    dweight, dbias = items.new_empty(weight.shape), items.new_empty(weight.shape)
    tensors = addresses(*inputs, ditems, dposition_table, dweight, dbias)
    sizes = (*dy.shape, num_rows, position_table.shape[0])
    native.embedding_layer_norm_backward(
        *tensors, *sizes, *native_dropout(dropout_p, seed), torch.get_num_threads()
    )
    return ditems, dposition_table, dweight, dbias


OPERATORS = (embedding_layer_norm, embedding_layer_norm_backward)
