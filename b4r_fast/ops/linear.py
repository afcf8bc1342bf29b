"""The projections around attention (paper, section 3.3)."""

from __future__ import annotations

from torch import Tensor

from .checks import check_tensors
from .registration import define, differentiate


def _fake(x, w, b):
    return x.new_empty((x.shape[0], w.shape[0]))


def _fake_backward(dy, x, w):
    return x.new_empty(x.shape), w.new_empty(w.shape), w.new_empty(w.shape[0])


_forward_op = define("linear(Tensor x, Tensor w, Tensor b) -> Tensor", _fake)
_backward_op = define(
    "linear_backward(Tensor dy, Tensor x, Tensor w) -> (Tensor dx, Tensor dw, Tensor db)",
    _fake_backward,
)


def _setup(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:2])


def _backward(ctx, dy):
    return _backward_op(dy, *ctx.saved_tensors)


differentiate(_forward_op, _backward, _setup)


def linear(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """x w^T + b, differentiable in all three.

    x: (T, in). w: (out, in), b: (out,), as nn.Linear stores them. Returns (T, out). Raises
    ValueError for a wrong shape, dtype or device.
    """
    check_tensors(None, {}, x=(x, "T in"), w=(w, "out in"), b=(b, "out"))
    return _forward_op(x, w, b)
