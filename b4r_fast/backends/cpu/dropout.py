"""Glue to csrc/cpu/dropout.cpp, which has the maths."""

from __future__ import annotations

import torch
from torch import Tensor

from ..addresses import addresses
from .instruction_sets import native, native_dropout


def dropout(x: Tensor, dropout_p: float, seed: Tensor) -> Tensor:
    x = x.contiguous()
    y = x.new_empty(x.shape)
    native.dropout(
        *addresses(x, y), *x.shape, *native_dropout(dropout_p, seed), torch.get_num_threads()
    )
    return y


OPERATORS = (dropout,)
