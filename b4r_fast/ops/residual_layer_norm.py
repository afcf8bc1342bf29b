"""LN(x + Dropout(sublayer)): the end of every sublayer of a post-norm transformer (paper, section
3.2).
"""

from __future__ import annotations

from torch import Tensor

from .checks import check_dropout, check_tensors
from .fakes import fake_gradients, fake_statistics
from .registration import define, differentiate


def _fake(x, sublayer, weight, bias, eps, dropout_p, seed):
    return x.new_empty(x.shape), *fake_statistics(x)


def _fake_backward(dy, x, sublayer, weight, mean, rstd, dropout_p, seed):
    return fake_gradients(x, sublayer, weight, weight)


_forward_op = define(
    "residual_layer_norm(Tensor x, Tensor sublayer, Tensor weight, Tensor bias, float eps, float"
    " dropout_p, Tensor? seed)"
    " -> (Tensor y, Tensor mean, Tensor rstd)",
    _fake,
)
_backward_op = define(
    "residual_layer_norm_backward(Tensor dy, Tensor x, Tensor sublayer, Tensor weight, Tensor"
    " mean, Tensor rstd, float dropout_p,"
    " Tensor? seed) -> (Tensor dx, Tensor dsublayer, Tensor dweight, Tensor dbias)",
    _fake_backward,
    like="x",
)


def _setup(ctx, inputs, output):
    x, sublayer, weight, _, _, ctx.dropout_p, seed = inputs
    _, mean, rstd = output
    ctx.mark_non_differentiable(mean, rstd)
    ctx.save_for_backward(x, sublayer, weight, mean, rstd, seed)


def _backward(ctx, dy, *_):
    x, sublayer, weight, mean, rstd, seed = ctx.saved_tensors
    return *_backward_op(dy, x, sublayer, weight, mean, rstd, ctx.dropout_p, seed), None, None, None


differentiate(_forward_op, _backward, _setup)


def residual_layer_norm(
    x: Tensor,
    sublayer: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    eps: float,
    dropout_p: float = 0.0,
    seed: Tensor | None = None,
) -> Tensor:
    """LayerNorm(x + Dropout(sublayer)) over the last dimension, differentiable in x, sublayer,
    weight and bias.

    x, sublayer: (T, d). weight, bias: (d,). eps: added to the variance. seed: int64 scalar tensor
    for the dropout; None draws one from torch's generator. Returns (T, d). Raises ValueError for a
    wrong shape, dtype, device, or dropout_p outside [0, 1).
    """
    check_tensors(
        None, {}, x=(x, "T d"), sublayer=(sublayer, "T d"), weight=(weight, "d"), bias=(bias, "d")
    )
    seed = check_dropout(dropout_p, seed, x.device)
    return _forward_op(x, sublayer, weight, bias, eps, dropout_p, seed)[0]
