"""The softmax over the whole catalogue and its negative log-likelihood (paper, equations 7 and 8), without a logits matrix kept."""

from __future__ import annotations

import torch
from torch import Tensor

from .checks import check_choice, check_rows, check_tensors
from .registration import define, differentiate

IGNORED = -100


def _fake(hidden, items, bias, targets):
    row = hidden.new_empty(hidden.shape[0])
    return row, hidden.new_empty(hidden.shape), torch.empty_like(row)


def _fake_backward(dloss, hidden, items, bias, targets, loss, lse):
    return items.new_empty(items.shape), None if bias is None else bias.new_empty(bias.shape)


def _check_values(hidden, items, bias, targets):
    check_rows("targets", targets, "items", items.shape[0], ignored=IGNORED)


_forward_op = define(
    "softmax_loss(Tensor hidden, Tensor items, Tensor? bias, Tensor targets) -> (Tensor loss, Tensor dhidden, Tensor lse)",
    _fake,
    check_values=_check_values,
)
_backward_op = define(
    "softmax_loss_backward(Tensor dloss, Tensor hidden, Tensor items, Tensor? bias, Tensor targets, Tensor loss, Tensor lse)"
    " -> (Tensor ditems, Tensor? dbias)",
    _fake_backward,
)


def _setup(ctx, inputs, output):
    loss, dhidden, lse = output
    ctx.mark_non_differentiable(dhidden, lse)
    ctx.save_for_backward(*inputs, loss, dhidden, lse)


def _backward(ctx, dloss, *_):
    hidden, items, bias, targets, loss, dhidden, lse = ctx.saved_tensors
    needs_hidden, needs_items, needs_bias, _ = ctx.needs_input_grad
    ditems = dbias = None
    if needs_items or needs_bias:
        ditems, dbias = _backward_op(dloss, hidden, items, bias, targets, loss, lse)
    return dloss[:, None] * dhidden if needs_hidden else None, ditems, dbias, None


differentiate(_forward_op, _backward, _setup)


def _fake_sum(hidden, items, bias, targets):
    return hidden.new_empty(()), hidden.new_empty(hidden.shape), *_fake_backward(None, hidden, items, bias, targets, None, None)


_sum_op = define(
    "softmax_loss_sum(Tensor hidden, Tensor items, Tensor? bias, Tensor targets)"
    " -> (Tensor loss, Tensor dhidden, Tensor ditems, Tensor? dbias)",
    _fake_sum,
    check_values=_check_values,
)


def _setup_sum(ctx, inputs, output):
    _, *gradients = output
    ctx.mark_non_differentiable(*(g for g in gradients if g is not None))
    ctx.save_for_backward(*gradients)


def _backward_sum(ctx, dloss, *_):
    # The gradients are there already; what comes in is one number.
    return *(dloss * g if needed else None for g, needed in zip(ctx.saved_tensors, ctx.needs_input_grad)), None


differentiate(_sum_op, _backward_sum, _setup_sum)


def reduce_loss(loss: Tensor, targets: Tensor, reduction: str) -> Tensor:
    """Rows -> "none": rows, "sum": their sum, "mean": the mean over rows with a target, 0 when there is none."""
    check_choice("reduction", reduction, ("mean", "sum", "none"))
    if reduction == "none":
        return loss
    total = loss.sum()
    return total if reduction == "sum" else total / _rows_with_target(targets)


def _rows_with_target(targets: Tensor) -> Tensor:
    return (targets != IGNORED).sum().clamp(min=1)


def softmax_loss(hidden: Tensor, items: Tensor, bias: Tensor | None, targets: Tensor, *, reduction: str = "mean") -> Tensor:
    """-log softmax(hidden items^T + bias)[target], differentiable in hidden, items and bias.

    hidden: (N, d). items: (V, d). bias: (V,) or None. targets: (N,) int64 rows of items; -100 gives no loss and no gradient.
    reduction: "mean" over the rows with a target (0 when there is none), "sum", or "none" for (N,).
    Raises ValueError for a wrong shape, dtype, device, target or reduction.
    """
    sizes = check_tensors(None, {}, hidden=(hidden, "N d"), items=(items, "V d"), bias=(bias, "V"))
    check_tensors(torch.int64, sizes, hidden, targets=(targets, "N"))
    if reduction in ("mean", "sum") and torch.is_grad_enabled() and items.requires_grad:
        total = _sum_op(hidden, items, bias, targets)[0]
        return total if reduction == "sum" else total / _rows_with_target(targets)
    return reduce_loss(_forward_op(hidden, items, bias, targets)[0], targets, reduction)
