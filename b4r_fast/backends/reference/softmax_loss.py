"""loss_i = -log softmax(z_i)[t_i] with z_ij = h_i . C_j + b_j: h (N, d), C = items (V, d), b = bias
(V,) or absent. docs/softmax_loss.md.

With the log-sum-exp over the others lse_i = log sum_{j != t} exp z_ij and x_i = lse_i - z_it:
loss_i = softplus(x_i), q_i = 1 - p_it = sigmoid(x_i), dloss_i/dh_i = sum_{j != t} p_ij C_j - q_i
C_t: the forward yields it. Nothing is subtracted from nearly itself, so small losses and their
gradients keep all their digits. Rows with target -100 have no loss and no gradient. Logits exist
for a block of rows at a time.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from .reduce_loss import reduce_loss
from .residual_layer_norm import at_least_fp32

BLOCK_LOGITS = 1 << 24


def row_blocks(rows: int, columns: int) -> Iterator[slice]:
    """Cut the rows so that a block has at most BLOCK_LOGITS logits (one row at least)."""
    step = max(1, BLOCK_LOGITS // max(columns, 1))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def logits(hidden: Tensor, items: Tensor, bias: Tensor | None) -> Tensor:
    z = at_least_fp32(hidden @ items.T)
    return z if bias is None else z + bias


def softmax_loss(
    hidden: Tensor, items: Tensor, bias: Tensor | None, targets: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """loss (N,), dloss_i/dh_i (N, d), and the log-sum-exp over all items (N,)."""
    n = hidden.shape[0]
    loss = at_least_fp32(hidden.new_zeros(n))
    lse, dhidden = torch.zeros_like(loss), torch.zeros_like(hidden)
    for block in row_blocks(n, items.shape[0]):
        valid = targets[block] >= 0
        target = targets[block].clamp(min=0)[:, None]
        z = logits(hidden[block], items, bias)
        z_target = z.gather(1, target).squeeze(1)
        z.scatter_(1, target, -torch.inf)
        lse_others = z.logsumexp(1)
        x = lse_others - z_target
        loss[block] = torch.where(valid, torch.logaddexp(x, torch.zeros_like(x)), 0)
        lse[block] = torch.logaddexp(lse_others, z_target)
        p = (z - lse[block][:, None]).exp()
        dhidden[block] = torch.where(
            valid[:, None],
            p.to(items.dtype) @ items - x.sigmoid()[:, None] * items[target.squeeze(1)],
            0,
        )
    return loss, dhidden, lse


def softmax_loss_backward(
    dloss: Tensor,
    hidden: Tensor,
    items: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    loss: Tensor,
    lse: Tensor,
) -> tuple[Tensor, Tensor | None]:
    """(ditems, dbias); dhidden is dloss_i times what the forward yielded."""
    ditems = torch.zeros_like(items)
    dbias = torch.zeros_like(bias, dtype=lse.dtype) if bias is not None else None
    for block in row_blocks(hidden.shape[0], items.shape[0]):
        valid = (targets[block] >= 0)[:, None]
        target = targets[block].clamp(min=0)[:, None]
        # What is not finite in a row without a target would spoil the table.
        h = torch.where(valid, hidden[block], 0)
        dz = (logits(h, items, bias) - lse[block][:, None]).exp()
        dz.scatter_(1, target, torch.expm1(-loss[block])[:, None])  # -q = p_t - 1 = exp(-loss) - 1
        dz = torch.where(valid, dz * dloss[block][:, None], 0)
        ditems += dz.T.to(hidden.dtype) @ h
        if dbias is not None:
            dbias += dz.sum(0)
    return ditems, None if dbias is None else dbias.to(items.dtype)


def reduced_softmax_loss(
    hidden: Tensor,
    items: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    weights: Tensor | None,
    mean: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
    """The sum or mean of the losses times their weights (), what a row counts in it beside that (),
    and the gradients of the sum: dhidden, ditems, dbias.
    """
    loss, dhidden, lse = softmax_loss(hidden, items, bias, targets)
    counts = torch.ones_like(loss) if weights is None else weights
    gradients = softmax_loss_backward(counts, hidden, items, bias, targets, loss, lse)
    dhidden = (dhidden * counts[:, None]).to(hidden.dtype)
    return *reduce_loss(loss * counts, targets, mean), dhidden, *gradients


OPERATORS = (softmax_loss, softmax_loss_backward, reduced_softmax_loss)
