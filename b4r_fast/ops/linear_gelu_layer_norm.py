"""LN(GELU(x w^T + b)): the head before the product with the item table (paper, equation 7, and the
authors' code).
"""

from __future__ import annotations

from torch import Tensor

from .checks import check_choice, check_tensors
from .fakes import fake_statistics
from .registration import define, differentiate


def _fake(x, w, *_):
    y = x.new_empty(x.shape[0], w.shape[0])
    return y, y.new_empty(y.shape), *fake_statistics(x)


def _fake_backward(dy, x, w, u, weight, *_):
    return tuple(t.new_empty(t.shape) for t in (x, w, weight, weight, weight))


_forward_op = define(
    "linear_gelu_layer_norm(Tensor x, Tensor w, Tensor b, Tensor weight, Tensor bias, float eps,"
    " str approximate)"
    " -> (Tensor y, Tensor u, Tensor mean, Tensor rstd)",
    _fake,
)
_backward_op = define(
    "linear_gelu_layer_norm_backward(Tensor dy, Tensor x, Tensor w, Tensor u, Tensor weight,"
    " Tensor mean, Tensor rstd, str approximate)"
    " -> (Tensor dx, Tensor dw, Tensor db, Tensor dweight, Tensor dbias)",
    _fake_backward,
    like="x",
)


def _setup(ctx, inputs, output):
    x, w, _, weight, _, _, ctx.approximate = inputs
    _, *others = output
    ctx.mark_non_differentiable(*others)
    ctx.save_for_backward(x, w, others[0], weight, *others[1:])


def _backward(ctx, dy, *_):
    return *_backward_op(dy, *ctx.saved_tensors, ctx.approximate), None, None


differentiate(_forward_op, _backward, _setup)


def linear_gelu_layer_norm(
    x: Tensor,
    w: Tensor,
    b: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    eps: float,
    approximate: str = "none",
) -> Tensor:
    """LayerNorm(GELU(x w^T + b)), differentiable in all five.

    x: (T, in). w: (d, in), b: (d,), as nn.Linear stores them. weight, bias: (d,). eps: added to the
    variance. approximate: "none" for the exact GELU, "tanh" for its tanh approximation. Returns (T,
    d). Raises ValueError for a wrong shape, dtype, device or approximate.
    """
    check_tensors(
        None, {}, x=(x, "T in"), w=(w, "d in"), b=(b, "d"), weight=(weight, "d"), bias=(bias, "d")
    )
    check_choice("approximate", approximate, ("none", "tanh"))
    return _forward_op(x, w, b, weight, bias, eps, approximate)[0]
