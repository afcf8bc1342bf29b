"""What joint_attention takes where only some tokens ask: queries of those, keys and values of all
(paper, section 3.3).
"""

from __future__ import annotations

import torch
from torch import Tensor

from .checks import check_rows, check_tensors
from .registration import define, differentiate


def _fake(x, w, b, rows):
    d, x_selected = w.shape[0] // 3, x.new_empty((rows.shape[0], x.shape[1]))
    return x_selected, x.new_empty((rows.shape[0], d)), x.new_empty((x.shape[0], 2 * d))


def _fake_backward(dx_selected, dq, djoint, x, x_selected, w, rows):
    return x.new_empty(x.shape), w.new_empty(w.shape), w.new_empty(w.shape[0])


def _check_values(x, w, b, rows):
    check_rows("rows", rows, "x", x.shape[0])


_forward_op = define(
    "selected_projection(Tensor x, Tensor w, Tensor b, Tensor rows) -> (Tensor x_selected,"
    " Tensor q, Tensor joint)",
    _fake,
    check_values=_check_values,
)
_backward_op = define(
    "selected_projection_backward(Tensor? dx_selected, Tensor dq, Tensor djoint, Tensor x, Tensor"
    " x_selected, Tensor w, Tensor rows)"
    " -> (Tensor dx, Tensor dw, Tensor db)",
    _fake_backward,
    like="dq",
)


def _setup(ctx, inputs, output):
    x, w, _, rows = inputs
    ctx.save_for_backward(x, output[0], w, rows)


def _backward(ctx, dx_selected, dq, djoint):
    x, x_selected, w, rows = ctx.saved_tensors
    d = w.shape[0] // 3
    dq = x_selected.new_zeros(x_selected.shape[0], d) if dq is None else dq
    djoint = x.new_zeros(x.shape[0], 2 * d) if djoint is None else djoint
    return *_backward_op(dx_selected, dq, djoint, x, x_selected, w, rows), None


differentiate(_forward_op, _backward, _setup)


def selected_projection(
    x: Tensor, w: Tensor, b: Tensor, rows: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """(x_selected, q, joint): x[rows], x_selected w_q^T + b_q, and x w_kv^T + b_kv; differentiable
    in x, w and b.

    x: (T, in). w: (3 d, in), b: (3 d,): one projection whose first third is w_q and b_q. rows: (R,)
    int64 rows of x, each at most once. Returns (R, in), (R, d), (T, 2 d). Raises ValueError for a
    wrong shape, dtype, device or row.
    """
    sizes = check_tensors(None, {}, x=(x, "T in"), w=(w, "3d in"), b=(b, "3d"))
    check_tensors(torch.int64, sizes, x, rows=(rows, "R"))
    if w.shape[0] % 3:
        raise ValueError(f"w must have three parts of the same size, got {w.shape[0]} rows")
    return _forward_op(x, w, b, rows)
