"""Dropout by counters: the mask of an element depends on (seed, row, column) alone."""

from __future__ import annotations

from torch import Tensor

from .checks import check_dropout, check_tensors
from .registration import define, differentiate

_dropout = define(
    "dropout(Tensor x, float dropout_p, Tensor seed) -> Tensor",
    lambda x, dropout_p, seed: x.new_empty(x.shape),
)


def _setup(ctx, inputs, output):
    _, ctx.dropout_p, seed = inputs
    ctx.save_for_backward(seed)


def _backward(ctx, dy):
    (seed,) = ctx.saved_tensors
    return _dropout(dy, ctx.dropout_p, seed), None, None


differentiate(_dropout, _backward, _setup)


def dropout(x: Tensor, *, dropout_p: float, seed: Tensor | None = None) -> Tensor:
    """Zero elements with probability dropout_p and scale the others to keep the mean.

    x: (T, d). seed: int64 scalar tensor; None draws one from torch's generator. The keep rate is
    exact to 1/65,536 (docs/dropout.md). Raises ValueError for a wrong shape, dtype, device, or
    dropout_p outside [0, 1).
    """
    check_tensors(None, {}, x=(x, "T d"))
    seed = check_dropout(dropout_p, seed, x.device)
    return x if seed is None else _dropout(x, dropout_p, seed)
