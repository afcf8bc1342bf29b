"""Glue to csrc/cpu/adamw_rows.cpp, which has the maths."""

from __future__ import annotations

import torch
from torch import Tensor

from ..addresses import addresses, contiguous
from .instruction_sets import native


def adamw_rows(
    table: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    rows: Tensor,
    gradient: Tensor,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    step: int,
) -> None:
    inputs = contiguous(rows, gradient)
    sizes = (rows.shape[0], table[:1].numel())
    tensors = addresses(table, exp_avg, exp_avg_sq, *inputs)
    native.adamw_rows(
        *tensors, *sizes, lr, beta1, beta2, eps, weight_decay, step, torch.get_num_threads()
    )


OPERATORS = (adamw_rows,)
