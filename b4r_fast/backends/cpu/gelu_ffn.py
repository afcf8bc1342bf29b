"""Glue to csrc/cpu/gelu_ffn.cpp, which has the maths."""

from __future__ import annotations

import torch
from torch import Tensor

from ..addresses import addresses
from .instruction_sets import native


def gelu_ffn(x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, approximate: str) -> Tensor:
    x, w1, b1, w2, b2 = (t.contiguous() for t in (x, w1, b1, w2, b2))
    y = x.new_empty(x.shape)
    native.gelu_ffn(
        *addresses(x, w1, b1, w2, b2, y),
        *x.shape,
        w1.shape[0],
        approximate == "tanh",
        torch.get_num_threads(),
    )
    return y


def gelu_ffn_backward(
    dy: Tensor, x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, approximate: str
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    dy, x, w1, b1, w2 = (t.contiguous() for t in (dy, x, w1, b1, w2))
    dx, dw1, db1, dw2, db2 = (
        x.new_empty(shape) for shape in (x.shape, w1.shape, b1.shape, w2.shape, x.shape[1:])
    )
    tensors = addresses(dy, x, w1, b1, w2, dx, dw1, db1, dw2, db2)
    sizes = (*x.shape, w1.shape[0])
    native.gelu_ffn_backward(*tensors, *sizes, approximate == "tanh", torch.get_num_threads())
    return dx, dw1, db1, dw2, db2


OPERATORS = (gelu_ffn, gelu_ffn_backward)
