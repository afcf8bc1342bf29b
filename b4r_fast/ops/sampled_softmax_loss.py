"""The softmax loss over the target and sampled negatives."""

from __future__ import annotations

import torch
from torch import Tensor

from .checks import check_rows, check_tensors
from .registration import define, differentiate
from .softmax_loss import IGNORED, reduce_loss


def _fake(hidden, items, bias, targets, negatives, log_q):
    row = hidden.new_empty(hidden.shape[0])
    return row, hidden.new_empty(hidden.shape), torch.empty_like(row)


def _fake_backward(dloss, hidden, items, bias, targets, negatives, log_q, loss, lse):
    return items.new_empty(items.shape), None if bias is None else bias.new_empty(bias.shape)


def _check_values(hidden, items, bias, targets, negatives, log_q):
    check_rows("targets", targets, "items", items.shape[0], ignored=IGNORED)
    check_rows("negatives", negatives, "items", items.shape[0])


_forward_op = define(
    "sampled_softmax_loss(Tensor hidden, Tensor items, Tensor? bias, Tensor targets, Tensor negatives, Tensor? log_q)"
    " -> (Tensor loss, Tensor dhidden, Tensor lse)",
    _fake,
    check_values=_check_values,
)
_backward_op = define(
    "sampled_softmax_loss_backward(Tensor dloss, Tensor hidden, Tensor items, Tensor? bias, Tensor targets, Tensor negatives,"
    " Tensor? log_q, Tensor loss, Tensor lse) -> (Tensor ditems, Tensor? dbias)",
    _fake_backward,
)


def _setup(ctx, inputs, output):
    loss, dhidden, lse = output
    ctx.mark_non_differentiable(dhidden, lse)
    ctx.save_for_backward(*inputs, loss, dhidden, lse)


def _backward(ctx, dloss, *_):
    *inputs, loss, dhidden, lse = ctx.saved_tensors
    needs_hidden, needs_items, needs_bias, *_ = ctx.needs_input_grad
    ditems = dbias = None
    if needs_items or needs_bias:
        ditems, dbias = _backward_op(dloss, *inputs, loss, lse)
    return dloss[:, None] * dhidden if needs_hidden else None, ditems, dbias, None, None, None


differentiate(_forward_op, _backward, _setup)


def sampled_softmax_loss(
    hidden: Tensor,
    items: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    negatives: Tensor,
    *,
    log_q: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-log softmax over the target and K negatives; differentiable in hidden, items and bias.

    hidden: (N, d). items: (V, d). bias: (V,) or None. targets: (N,) int64 rows of items; -100 gives no loss and no gradient.
    negatives: int64 rows of items, (K,) shared by all rows or (N, K) private. log_q: the shape of negatives, the log of how often each is
    expected among the K draws (sample_negatives returns it), subtracted from its logit, so that the loss estimates the full softmax
    (Bengio and Senecal 2008); None subtracts nothing. A negative that is the row's own target is left out. reduction as in softmax_loss.
    Raises ValueError for a wrong shape, dtype, device, target, negative or reduction.
    """
    sizes = check_tensors(None, {}, hidden=(hidden, "N d"), items=(items, "V d"), bias=(bias, "V"))
    shape = "K" if isinstance(negatives, Tensor) and negatives.dim() == 1 else "N K"
    check_tensors(torch.int64, sizes, hidden, targets=(targets, "N"), negatives=(negatives, shape))
    check_tensors(None, sizes, hidden, log_q=(log_q, shape))
    return reduce_loss(_forward_op(hidden, items, bias, targets, negatives, log_q)[0], targets, reduction)
