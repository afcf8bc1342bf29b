"""The position-wise feed-forward network with GELU (paper, section 3.3)."""

from __future__ import annotations

from torch import Tensor

from .checks import check_choice, check_tensors
from .registration import define, differentiate


def _fake(x, w1, b1, w2, b2, approximate):
    return x.new_empty(x.shape)


def _fake_backward(dy, x, w1, b1, w2, approximate):
    return (
        x.new_empty(x.shape),
        w1.new_empty(w1.shape),
        b1.new_empty(b1.shape),
        w2.new_empty(w2.shape),
        x.new_empty(x.shape[1]),
    )


_forward_op = define(
    "gelu_ffn(Tensor x, Tensor w1, Tensor b1, Tensor w2, Tensor b2, str approximate) -> Tensor",
    _fake,
)
_backward_op = define(
    "gelu_ffn_backward(Tensor dy, Tensor x, Tensor w1, Tensor b1, Tensor w2, str approximate)"
    " -> (Tensor dx, Tensor dw1, Tensor db1, Tensor dw2, Tensor db2)",
    _fake_backward,
)


def _setup(ctx, inputs, output):
    x, w1, b1, w2, _, ctx.approximate = inputs
    ctx.save_for_backward(x, w1, b1, w2)


def _backward(ctx, dy):
    return *_backward_op(dy, *ctx.saved_tensors, ctx.approximate), None


differentiate(_forward_op, _backward, _setup)


def gelu_ffn(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, *, approximate: str = "none"
) -> Tensor:
    """GELU(x w1^T + b1) w2^T + b2, differentiable in all five; the hidden activation is recomputed
    in the backward, not kept.

    x: (T, d). w1: (f, d), b1: (f,), w2: (d, f), b2: (d,), as nn.Linear stores them. approximate:
    "none" for the exact GELU x Phi(x), "tanh" for its tanh approximation. Returns (T, d). Raises
    ValueError for a wrong shape, dtype, device or approximate.
    """
    check_tensors(
        None, {}, x=(x, "T d"), w1=(w1, "f d"), b1=(b1, "f"), w2=(w2, "d f"), b2=(b2, "d")
    )
    check_choice("approximate", approximate, ("none", "tanh"))
    return _forward_op(x, w1, b1, w2, b2, approximate)
