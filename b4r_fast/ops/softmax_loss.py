"""The softmax over the whole catalogue and its negative log-likelihood (paper, equations 7 and 8),
without a logits matrix kept.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..backends.labels import IGNORED
from .checks import check_rows, check_tensors
from .fakes import fake_gradients, fake_losses
from .reduce_loss import reduce_loss, row_weights
from .registration import define, differentiate


def _fake(hidden, items, bias, targets):
    return fake_losses(hidden)


def _fake_backward(dloss, hidden, items, bias, targets, loss, lse):
    return fake_gradients(items, bias)


def _check_values(hidden, items, bias, targets):
    check_rows("targets", targets, "items", items.shape[0], ignored=IGNORED)


_forward_op = define(
    "softmax_loss(Tensor hidden, Tensor items, Tensor? bias, Tensor targets) -> (Tensor loss,"
    " Tensor dhidden, Tensor lse)",
    _fake,
    check_values=_check_values,
)
_backward_op = define(
    "softmax_loss_backward(Tensor dloss, Tensor hidden, Tensor items, Tensor? bias, Tensor"
    " targets, Tensor loss, Tensor lse)"
    " -> (Tensor ditems, Tensor? dbias)",
    _fake_backward,
    like="hidden",  # dloss is fp32 whatever the others are
)


def _setup(ctx, inputs, output):
    loss, dhidden, lse = output
    ctx.mark_non_differentiable(dhidden, lse)
    ctx.save_for_backward(*inputs, loss, dhidden, lse)


def scaled_rows(dloss, dhidden):
    return (dloss[:, None] * dhidden).to(dhidden.dtype)


def _backward(ctx, dloss, *_):
    hidden, items, bias, targets, loss, dhidden, lse = ctx.saved_tensors
    needs_hidden, needs_items, needs_bias, _ = ctx.needs_input_grad
    ditems = dbias = None
    if needs_items or needs_bias:
        ditems, dbias = _backward_op(dloss, hidden, items, bias, targets, loss, lse)
    return scaled_rows(dloss, dhidden) if needs_hidden else None, ditems, dbias, None


differentiate(_forward_op, _backward, _setup)


def _fake_reduced(hidden, items, bias, targets, weights, mean):
    loss = hidden.new_empty((), dtype=torch.promote_types(hidden.dtype, torch.float32))
    return loss, torch.empty_like(loss), *fake_gradients(hidden, items, bias)


def _check_reduced_values(hidden, items, bias, targets, weights, mean):
    _check_values(hidden, items, bias, targets)


# weights: of the rows' losses. weight: what each counts in the loss beside that; dhidden, ditems,
# dbias: gradients of the sum of the losses times their weights.
_reduced_op = define(
    "reduced_softmax_loss(Tensor hidden, Tensor items, Tensor? bias, Tensor targets,"
    " Tensor? weights, bool mean)"
    " -> (Tensor loss, Tensor weight, Tensor dhidden, Tensor ditems, Tensor? dbias)",
    _fake_reduced,
    check_values=_check_reduced_values,
)


def _setup_reduced(ctx, inputs, output):
    _, *others = output
    ctx.mark_non_differentiable(*(x for x in others if x is not None))
    ctx.save_for_backward(*others)


def _backward_reduced(ctx, dloss, *_):
    # The gradients are there already; what comes in is one number.
    weight, *gradients = ctx.saved_tensors
    needed = [i for i, g in enumerate(gradients) if ctx.needs_input_grad[i] and g is not None]
    scaled = dict(zip(needed, torch._foreach_mul([gradients[i] for i in needed], dloss * weight)))
    return *(scaled.get(i) for i in range(len(gradients))), None, None, None


differentiate(_reduced_op, _backward_reduced, _setup_reduced)


def softmax_loss(
    hidden: Tensor,
    items: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    *,
    weights: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-log softmax(hidden items^T + bias)[target], differentiable in hidden, items and bias.

    hidden: (N, d). items: (V, d). bias: (V,) or None. targets: (N,) int64 rows of items; -100 gives
    no loss and no gradient. weights: (N,) float32 or the dtype of hidden, not negative: what each
    row's loss is multiplied by; no gradient goes there. reduction: "mean" over the rows with a
    target, by weight (0 when there is none), "sum", or "none" for (N,). Raises ValueError for a
    wrong shape, dtype, device, target or reduction.
    """
    sizes = check_tensors(None, {}, hidden=(hidden, "N d"), items=(items, "V d"), bias=(bias, "V"))
    check_tensors(torch.int64, sizes, hidden, targets=(targets, "N"))
    weights = row_weights(weights, targets, hidden, sizes, reduction)
    # In fp16 the gradient of the sum may overflow where that of the mean does not.
    if (
        reduction in ("mean", "sum")
        and torch.is_grad_enabled()
        and items.requires_grad
        and items.dtype != torch.float16
    ):
        mean = reduction == "mean" and weights is None  # whose sum is 1 already
        return _reduced_op(hidden, items, bias, targets, weights, mean)[0]
    return reduce_loss(_forward_op(hidden, items, bias, targets)[0], targets, reduction, weights)
