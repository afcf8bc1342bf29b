"""Glue to csrc/cpu/linear.cpp, which has the maths."""

from __future__ import annotations

import torch
from torch import Tensor

from ..addresses import addresses
from .instruction_sets import native


def linear(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    x, w, b = x.contiguous(), w.contiguous(), b.contiguous()
    y = x.new_empty(x.shape[0], w.shape[0])
    native.linear(*addresses(x, w, b, y), *x.shape, w.shape[0], torch.get_num_threads())
    return y


def linear_backward(dy: Tensor, x: Tensor, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    dy, x, w = dy.contiguous(), x.contiguous(), w.contiguous()
    dx, dw, db = x.new_empty(x.shape), w.new_empty(w.shape), w.new_empty(w.shape[0])
    native.linear_backward(
        *addresses(dy, x, w, dx, dw, db), *x.shape, w.shape[0], torch.get_num_threads()
    )
    return dx, dw, db


OPERATORS = (linear, linear_backward)
