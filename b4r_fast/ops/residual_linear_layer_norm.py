"""LN(x + Dropout(a w^T + b)): the end of the attention sublayer, its output projection included
(paper, sections 3.2 and 3.3).
"""

from __future__ import annotations

from torch import Tensor

from .checks import check_dropout, check_tensors
from .fakes import fake_statistics
from .registration import define, differentiate


def _fake(a, w, b, x, weight, bias, eps, dropout_p, seed):
    return x.new_empty(x.shape), x.new_empty(x.shape), *fake_statistics(x)


def _fake_backward(dy, a, w, x, sublayer, weight, mean, rstd, dropout_p, seed):
    rows = weight.new_empty(weight.shape)
    return (
        a.new_empty(a.shape),
        w.new_empty(w.shape),
        rows,
        x.new_empty(x.shape),
        rows.new_empty(rows.shape),
        rows.new_empty(rows.shape),
    )


_forward_op = define(
    "residual_linear_layer_norm(Tensor a, Tensor w, Tensor b, Tensor x, Tensor weight, Tensor"
    " bias, float eps, float dropout_p,"
    " Tensor? seed) -> (Tensor y, Tensor sublayer, Tensor mean, Tensor rstd)",
    _fake,
)
_backward_op = define(
    "residual_linear_layer_norm_backward(Tensor dy, Tensor a, Tensor w, Tensor x, Tensor"
    " sublayer, Tensor weight, Tensor mean,"
    " Tensor rstd, float dropout_p, Tensor? seed)"
    " -> (Tensor da, Tensor dw, Tensor db, Tensor dx, Tensor dweight, Tensor dbias)",
    _fake_backward,
    like="a",
)


def _setup(ctx, inputs, output):
    a, w, _, x, weight, _, _, ctx.dropout_p, seed = inputs
    _, *others = output
    ctx.mark_non_differentiable(*others)
    ctx.save_for_backward(a, w, x, others[0], weight, *others[1:], seed)


def _backward(ctx, dy, *_):
    *tensors, seed = ctx.saved_tensors
    return *_backward_op(dy, *tensors, ctx.dropout_p, seed), None, None, None


differentiate(_forward_op, _backward, _setup)


def residual_linear_layer_norm(
    a: Tensor,
    w: Tensor,
    b: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    eps: float,
    dropout_p: float = 0.0,
    seed: Tensor | None = None,
) -> Tensor:
    """LayerNorm(x + Dropout(a w^T + b)), differentiable in all six tensors: residual_layer_norm of
    linear, with the same masks.

    a: (T, in). w: (d, in), b: (d,), as nn.Linear stores them. x: (T, d). weight, bias: (d,). eps,
    dropout_p, seed: as in residual_layer_norm. Returns (T, d). Raises ValueError for a wrong shape,
    dtype, device, or dropout_p outside [0, 1).
    """
    check_tensors(
        None,
        {},
        a=(a, "T in"),
        w=(w, "d in"),
        b=(b, "d"),
        x=(x, "T d"),
        weight=(weight, "d"),
        bias=(bias, "d"),
    )
    seed = check_dropout(dropout_p, seed, a.device)
    return _forward_op(a, w, b, x, weight, bias, eps, dropout_p, seed)[0]
