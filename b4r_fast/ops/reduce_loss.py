"""The loss of a batch from those of its rows."""

from __future__ import annotations

import torch
from torch import Tensor

from .checks import check_choice, check_tensors, fp32_passes
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


def reduce_loss(
    loss: Tensor, targets: Tensor, reduction: str, weights: Tensor | None = None
) -> Tensor:
    """Rows -> "none": rows, "sum": their sum, "mean": the mean over rows with a target, 0 when
    there is none. weights: of the rows, of row_weights.
    """
    check_choice("reduction", reduction, ("mean", "sum", "none"))
    if weights is not None:
        loss, reduction = loss * weights, "none" if reduction == "none" else "sum"
    return loss if reduction == "none" else _op(loss, targets, reduction == "mean")[0]


def row_weights(
    weights: Tensor | None, targets: Tensor, hidden: Tensor, sizes: dict[str, int], reduction: str
) -> Tensor | None:
    """(N,): what each row counts in the reduced loss: its weight, for a mean by the sum of those of
    rows with a target; 0 where all of them are 0. Raises ValueError for weights of another kind.
    """
    if weights is None:
        return None
    check_tensors(fp32_passes(weights), sizes, hidden, weights=(weights, "N"))
    weights = weights.detach().to(torch.promote_types(hidden.dtype, torch.float32))
    weights = torch.where(targets >= 0, weights, 0)
    if reduction != "mean":
        return weights
    total = _op(weights, targets, False)[0]
    return weights / torch.where(total > 0, total, 1)
