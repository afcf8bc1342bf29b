"""The softmax loss over a target and K sampled negatives: z_ik = h_i . C_(n_k) + b_(n_k) - log q_k.
docs/sampled_softmax_loss.md.

negatives (K,) are shared by all rows, (N, K) private. log q_k: the log of how often negative k is
expected in K draws; without it nothing is corrected. A negative that is its row's target (a hit) is
out: its logit is -inf. Loss and gradients are those of softmax_loss.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .residual_layer_norm import at_least_fp32
from .softmax_loss import row_blocks


def _block(
    hidden: Tensor,
    items: Tensor,
    bias: Tensor | None,
    target: Tensor,
    negatives: Tensor,
    log_q: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """For a block of rows: the negatives' logits (n, K), their item rows (K, d) or (n, K, d), and
    the target's logits (n,).
    """
    rows = items[negatives]
    z = at_least_fp32(
        hidden @ rows.T if negatives.dim() == 1 else torch.einsum("nd,nkd->nk", hidden, rows)
    )
    z_target = at_least_fp32(hidden * items[target]).sum(1)
    if bias is not None:
        z, z_target = z + bias[negatives], z_target + bias[target]
    if log_q is not None:
        z = z - log_q
    return z.masked_fill(negatives == target[:, None], -torch.inf), rows, z_target


def _of_rows(
    rows: slice | Tensor, negatives: Tensor, log_q: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """These rows of private (N, K) tensors; shared ones (K,) as they are."""
    if negatives.dim() == 1:
        return negatives, log_q
    return negatives[rows], None if log_q is None else log_q[rows]


def _blocks(hidden: Tensor, negatives: Tensor):
    private_columns = negatives.shape[-1] * (hidden.shape[1] if negatives.dim() == 2 else 1)
    return row_blocks(hidden.shape[0], private_columns)


def sampled_softmax_loss(
    hidden: Tensor,
    items: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    negatives: Tensor,
    log_q: Tensor | None,
    sparse: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """loss (N,), dloss_i/dh_i (N, d), and the log-sum-exp over target and negatives (N,)."""
    n = hidden.shape[0]
    loss = at_least_fp32(hidden.new_zeros(n))
    lse, dhidden = torch.zeros_like(loss), torch.zeros_like(hidden)
    for block in _blocks(hidden, negatives):
        valid = targets[block] >= 0
        target = targets[block].clamp(min=0)
        z, rows, z_target = _block(
            hidden[block], items, bias, target, *_of_rows(block, negatives, log_q)
        )
        lse_others = z.logsumexp(1)
        x = lse_others - z_target
        loss[block] = torch.where(valid, torch.logaddexp(x, torch.zeros_like(x)), 0)
        lse[block] = torch.logaddexp(lse_others, z_target)
        p = (z - lse[block][:, None]).exp().to(items.dtype)
        mixed = p @ rows if rows.dim() == 2 else torch.einsum("nk,nkd->nd", p, rows)
        dhidden[block] = torch.where(
            valid[:, None], mixed - x.sigmoid()[:, None] * items[target], 0
        )
    return loss, dhidden, lse


def sampled_softmax_loss_backward(
    dloss: Tensor,
    hidden: Tensor,
    items: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    negatives: Tensor,
    log_q: Tensor | None,
    loss: Tensor,
    lse: Tensor,
    target_rows: Tensor,
    negative_rows: Tensor,
    num_rows: int,
) -> tuple[Tensor, Tensor | None]:
    """(ditems, dbias) of num_rows rows: those of the table, or of it those that target_rows and
    negative_rows number.
    """
    ditems = items.new_zeros(num_rows, items.shape[1])
    dbias = bias.new_zeros(num_rows) if bias is not None else None
    for block in _blocks(hidden, negatives):
        # Rows without a target are out before anything is computed: what is not finite there would
        # spoil the table.
        kept = (targets[block] >= 0).nonzero()[:, 0] + block.start
        h, g, target = hidden[kept], dloss[kept], targets[kept]
        kept_negatives, kept_log_q = _of_rows(kept, negatives, log_q)
        z, _, _ = _block(h, items, bias, target, kept_negatives, kept_log_q)
        dz = ((z - lse[kept][:, None]).exp() * g[:, None]).to(items.dtype)
        dz_target = (torch.expm1(-loss[kept]) * g).to(items.dtype)
        to_target, to_negatives = (
            target_rows[kept],
            _of_rows(kept, negative_rows, None)[0].flatten(),
        )
        ditems.index_add_(0, to_target, dz_target[:, None] * h)
        if negatives.dim() == 1:
            ditems.index_add_(0, to_negatives, dz.T @ h)
        else:
            ditems.index_add_(0, to_negatives, (dz[:, :, None] * h[:, None]).flatten(0, 1))
        if dbias is not None:
            dbias.index_add_(0, to_target, dz_target)
            dbias.index_add_(0, to_negatives, (dz.sum(0) if negatives.dim() == 1 else dz).flatten())
    return ditems, dbias


OPERATORS = (sampled_softmax_loss, sampled_softmax_loss_backward)
