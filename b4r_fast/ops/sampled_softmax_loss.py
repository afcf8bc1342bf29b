"""The softmax loss over the target and sampled negatives."""

from __future__ import annotations

import torch
from torch import Tensor

from ..backends.labels import IGNORED
from .checks import check_rows, check_tensors, fp32_passes
from .fakes import fake_losses
from .reduce_loss import reduce_loss, row_weights
from .registration import define, differentiate
from .row_gradients import number_rows, sparse_gradient
from .softmax_loss import scaled_rows


def _fake(hidden, items, bias, targets, negatives, log_q, sparse):
    return fake_losses(hidden)


def _fake_backward(
    dloss,
    hidden,
    items,
    bias,
    targets,
    negatives,
    log_q,
    loss,
    lse,
    target_rows,
    negative_rows,
    num_rows,
):
    return items.new_empty(num_rows, items.shape[1]), None if bias is None else bias.new_empty(
        num_rows
    )


def _check_values(hidden, items, bias, targets, negatives, log_q, sparse):
    check_rows("targets", targets, "items", items.shape[0], ignored=IGNORED)
    check_rows("negatives", negatives, "items", items.shape[0])


_forward_op = define(
    "sampled_softmax_loss(Tensor hidden, Tensor items, Tensor? bias, Tensor targets, Tensor"
    " negatives, Tensor? log_q, bool sparse)"
    " -> (Tensor loss, Tensor dhidden, Tensor lse)",
    _fake,
    check_values=_check_values,
)
# target_rows, negative_rows: where in the gradient, of num_rows rows, each target and negative
# adds.
_backward_op = define(
    "sampled_softmax_loss_backward(Tensor dloss, Tensor hidden, Tensor items, Tensor? bias,"
    " Tensor targets, Tensor negatives,"
    " Tensor? log_q, Tensor loss, Tensor lse, Tensor target_rows, Tensor negative_rows, SymInt"
    " num_rows)"
    " -> (Tensor ditems, Tensor? dbias)",
    _fake_backward,
    like="hidden",  # dloss is fp32 whatever the others are
)


def _setup(ctx, inputs, output):
    *tensors, ctx.sparse = inputs
    loss, dhidden, lse = output
    ctx.mark_non_differentiable(dhidden, lse)
    ctx.save_for_backward(*tensors, loss, dhidden, lse)


def _backward(ctx, dloss, *_):
    *inputs, loss, dhidden, lse = ctx.saved_tensors
    _, items, _, targets, negatives, _ = inputs
    needs_hidden, needs_items, needs_bias, *_ = ctx.needs_input_grad
    ditems = dbias = None
    if needs_items or needs_bias:
        if ctx.sparse:
            rows, places = number_rows(targets, negatives)
            ditems, dbias = _backward_op(dloss, *inputs, loss, lse, *places, rows.shape[0])
            ditems = sparse_gradient(rows, ditems, items.shape[0])
            dbias = None if dbias is None else sparse_gradient(rows, dbias, items.shape[0])
        else:
            ditems, dbias = _backward_op(
                dloss, *inputs, loss, lse, targets, negatives, items.shape[0]
            )
    return (
        scaled_rows(dloss, dhidden) if needs_hidden else None,
        ditems,
        dbias,
        None,
        None,
        None,
        None,
    )


differentiate(_forward_op, _backward, _setup)


def sampled_softmax_loss(
    hidden: Tensor,
    items: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    negatives: Tensor,
    *,
    log_q: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: str = "mean",
    sparse: bool = False,
) -> Tensor:
    """-log softmax over the target and K negatives; differentiable in hidden, items and bias.

    hidden: (N, d). items: (V, d). bias: (V,) or None. targets: (N,) int64 rows of items; -100 gives
    no loss and no gradient. negatives: int64 rows of items, (K,) shared by all rows or (N, K)
    private. log_q: the shape of negatives, float32 or the dtype of hidden, the log of how often
    each is expected among the K draws (sample_negatives returns it), subtracted from its logit, so
    that the loss estimates the full softmax (Bengio and Senecal 2008); None subtracts nothing. A
    negative that is the row's own target is left out. weights and
    reduction as in softmax_loss. sparse: the
    gradients of items and bias are sparse tensors of the rows that targets and negatives name, not
    dense ones of V rows; not under torch.compile, which knows no sparse gradients. Raises
    ValueError for a wrong shape, dtype, device, target, negative or reduction.
    """
    sizes = check_tensors(None, {}, hidden=(hidden, "N d"), items=(items, "V d"), bias=(bias, "V"))
    shape = "K" if isinstance(negatives, Tensor) and negatives.dim() == 1 else "N K"
    check_tensors(torch.int64, sizes, hidden, targets=(targets, "N"), negatives=(negatives, shape))
    check_tensors(fp32_passes(log_q), sizes, hidden, log_q=(log_q, shape))
    weights = row_weights(weights, targets, hidden, sizes, reduction)
    log_q = None if log_q is None else log_q.to(torch.promote_types(hidden.dtype, torch.float32))
    loss = _forward_op(hidden, items, bias, targets, negatives, log_q, sparse)[0]
    return reduce_loss(loss, targets, reduction, weights)
