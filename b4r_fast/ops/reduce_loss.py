"""The loss of a batch from those of its rows."""

from __future__ import annotations

from torch import Tensor

from .checks import check_choice
from .registration import define, differentiate


def _fake(loss, targets, mean):
    return loss.new_empty(()), loss.new_empty(())


_op = define(
    "reduce_loss(Tensor loss, Tensor targets, bool mean) -> (Tensor total, Tensor weight)", _fake
)


def _setup(ctx, inputs, output):
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(output[1])
    ctx.shape = inputs[0].shape


def _backward(ctx, dtotal, _):
    (weight,) = ctx.saved_tensors
    return (dtotal * weight).expand(ctx.shape), None, None


differentiate(_op, _backward, _setup)


def reduce_loss(loss: Tensor, targets: Tensor, reduction: str) -> Tensor:
    """Rows -> "none": rows, "sum": their sum, "mean": the mean over rows with a target, 0 when
    there is none.
    """
    check_choice("reduction", reduction, ("mean", "sum", "none"))
    return loss if reduction == "none" else _op(loss, targets, reduction == "mean")[0]
