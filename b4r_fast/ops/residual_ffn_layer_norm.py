"""LN(x + Dropout(FFN(x))): the second sublayer of a post-norm transformer layer, whole (paper,
sections 3.2 and 3.3).
"""

from __future__ import annotations

from torch import Tensor

from .checks import check_choice, check_dropout, check_tensors
from .fakes import fake_statistics
from .registration import define, differentiate


def _fake(x, *_):
    return x.new_empty(x.shape), x.new_empty(x.shape), *fake_statistics(x)


def _fake_backward(dy, x, w1, b1, w2, sublayer, weight, *_):
    gradients = (x, w1, b1, w2, weight, weight, weight)
    return tuple(t.new_empty(t.shape) for t in gradients)


_forward_op = define(
    "residual_ffn_layer_norm(Tensor x, Tensor w1, Tensor b1, Tensor w2, Tensor b2, Tensor weight,"
    " Tensor bias, float eps,"
    " str approximate, float dropout_p, Tensor? seed) -> (Tensor y, Tensor sublayer, Tensor"
    " mean, Tensor rstd)",
    _fake,
)
_backward_op = define(
    "residual_ffn_layer_norm_backward(Tensor dy, Tensor x, Tensor w1, Tensor b1, Tensor w2,"
    " Tensor sublayer, Tensor weight, Tensor mean,"
    " Tensor rstd, str approximate, float dropout_p, Tensor? seed)"
    " -> (Tensor dx, Tensor dw1, Tensor db1, Tensor dw2, Tensor db2, Tensor dweight, Tensor dbias)",
    _fake_backward,
    like="x",
)


def _setup(ctx, inputs, output):
    x, w1, b1, w2, _, weight, _, _, ctx.approximate, ctx.dropout_p, seed = inputs
    _, *others = output
    ctx.mark_non_differentiable(*others)
    ctx.save_for_backward(x, w1, b1, w2, others[0], weight, *others[1:], seed)


def _backward(ctx, dy, *_):
    *tensors, seed = ctx.saved_tensors
    return *_backward_op(dy, *tensors, ctx.approximate, ctx.dropout_p, seed), None, None, None, None


differentiate(_forward_op, _backward, _setup)


def residual_ffn_layer_norm(
    x: Tensor,
    w1: Tensor,
    b1: Tensor,
    w2: Tensor,
    b2: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    eps: float,
    approximate: str = "none",
    dropout_p: float = 0.0,
    seed: Tensor | None = None,
) -> Tensor:
    """LayerNorm(x + Dropout(gelu_ffn(x))), differentiable in all seven tensors: residual_layer_norm
    of gelu_ffn, with the same masks.

    x: (T, d). w1: (f, d), b1: (f,), w2: (d, f), b2: (d,), as nn.Linear stores them. weight, bias:
    (d,). approximate: as in gelu_ffn. eps, dropout_p, seed: as in residual_layer_norm. Returns (T,
    d). Raises ValueError for a wrong shape, dtype, device, approximate, or dropout_p outside [0,
    1).
    """
    sizes = check_tensors(
        None, {}, x=(x, "T d"), w1=(w1, "f d"), b1=(b1, "f"), w2=(w2, "d f"), b2=(b2, "d")
    )
    check_tensors(None, sizes, x, weight=(weight, "d"), bias=(bias, "d"))
    check_choice("approximate", approximate, ("none", "tanh"))
    seed = check_dropout(dropout_p, seed, x.device)
    return _forward_op(x, w1, b1, w2, b2, weight, bias, eps, approximate, dropout_p, seed)[0]
