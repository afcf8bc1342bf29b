"""One step of AdamW on some rows of a table, in place."""

from __future__ import annotations

import torch
from torch import Tensor

from .checks import check_rows, check_tensors
from .registration import define


def _fake(*args):
    return None


def _check_values(table, exp_avg, exp_avg_sq, rows, gradient, *_):
    check_rows("rows", rows, "table", table.shape[0])


_op = define(
    "adamw_rows(Tensor(a!) table, Tensor(b!) exp_avg, Tensor(c!) exp_avg_sq, Tensor rows, Tensor"
    " gradient, float lr, float beta1,"
    " float beta2, float eps, float weight_decay, int step) -> ()",
    _fake,
    check_values=_check_values,
)


def adamw_rows(
    table: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    rows: Tensor,
    gradient: Tensor,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    step: int,
) -> None:
    """Take one step of AdamW (Loshchilov and Hutter 2019, algorithm 2) on the named rows; no other
    row is read or written.

    table, exp_avg, exp_avg_sq: (V, d) or (V,), contiguous, written in place. rows: (U,) int64, each
    at most once. gradient: (U, d) or (U,), theirs. step: how many steps the table has had, this one
    included, from 1. Raises ValueError for a wrong shape, dtype, device, row or step, and for
    tables that are not contiguous.
    """
    shape = "V d" if isinstance(table, Tensor) and table.dim() == 2 else "V"
    sizes = check_tensors(
        None, {}, table=(table, shape), exp_avg=(exp_avg, shape), exp_avg_sq=(exp_avg_sq, shape)
    )
    check_tensors(torch.int64, sizes, table, rows=(rows, "U"))
    check_tensors(None, sizes, table, gradient=(gradient, shape.replace("V", "U")))
    for name, tensor in (("table", table), ("exp_avg", exp_avg), ("exp_avg_sq", exp_avg_sq)):
        if not tensor.is_contiguous():
            raise ValueError(f"{name} must be contiguous, as it is written in place")
    if step < 1:
        raise ValueError(f"step must be at least 1, got {step}")
    _op(table, exp_avg, exp_avg_sq, rows, gradient, lr, *betas, eps, weight_decay, step)
