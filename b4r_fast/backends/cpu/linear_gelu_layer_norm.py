"""Glue to csrc/cpu/linear.cpp and csrc/cpu/linear_gelu_layer_norm.cpp, which have the maths."""

from __future__ import annotations

import torch
from torch import Tensor

from ..addresses import addresses, contiguous
from .instruction_sets import native
from .linear import linear, linear_backward


def linear_gelu_layer_norm(
    x: Tensor, w: Tensor, b: Tensor, weight: Tensor, bias: Tensor, eps: float, approximate: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    u = linear(x, w, b)
    weight, bias = contiguous(weight, bias)
    y, mean, rstd = u.new_empty(u.shape), *(u.new_empty(u.shape[0]) for _ in range(2))
    native.gelu_layer_norm(
        *addresses(u, weight, bias, y, mean, rstd),
        *u.shape,
        eps,
        approximate == "tanh",
        torch.get_num_threads(),
    )
    return y, u, mean, rstd


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
    dy, weight = contiguous(dy, weight)
    du, dweight, dbias = u.new_empty(u.shape), *(weight.new_empty(weight.shape) for _ in range(2))
    native.gelu_layer_norm_backward(
        *addresses(dy, u, weight, mean, rstd, du, dweight, dbias),
        *u.shape,
        approximate == "tanh",
        torch.get_num_threads(),
    )
    return *linear_backward(du, x, w), dweight, dbias


OPERATORS = (linear_gelu_layer_norm, linear_gelu_layer_norm_backward)
