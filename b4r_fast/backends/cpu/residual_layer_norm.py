"""Glue to csrc/cpu/residual_layer_norm.cpp, which has the maths."""

from __future__ import annotations

import torch
from torch import Tensor

from ..addresses import addresses
from .instruction_sets import native, native_dropout


def residual_layer_norm(
    x: Tensor,
    sublayer: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    dropout_p: float,
    seed: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    x, sublayer, weight, bias = (
        x.contiguous(),
        sublayer.contiguous(),
        weight.contiguous(),
        bias.contiguous(),
    )
    rows, d = x.shape
    y, mean, rstd = x.new_empty(rows, d), x.new_empty(rows), x.new_empty(rows)
    tensors = addresses(x, sublayer, weight, bias, y, mean, rstd)
    native.residual_layer_norm(
        *tensors, rows, d, eps, *native_dropout(dropout_p, seed), torch.get_num_threads()
    )
    return y, mean, rstd


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
    dy, x, sublayer, weight = (
        dy.contiguous(),
        x.contiguous(),
        sublayer.contiguous(),
        weight.contiguous(),
    )
    rows, d = x.shape
    dx, dsublayer, dweight, dbias = (
        x.new_empty(rows, d),
        x.new_empty(rows, d),
        x.new_empty(d),
        x.new_empty(d),
    )
    tensors = addresses(dy, x, sublayer, weight, mean, rstd, dx, dsublayer, dweight, dbias)
    native.residual_layer_norm_backward(
        *tensors, rows, d, *native_dropout(dropout_p, seed), torch.get_num_threads()
    )
    return dx, dsublayer, dweight, dbias


OPERATORS = (residual_layer_norm, residual_layer_norm_backward)
