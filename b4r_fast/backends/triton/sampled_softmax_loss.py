"""The softmax loss over a target and K sampled negatives: z_ik = h_i . C_(n_k) + b_(n_k) - log q_k.
A negative that is the target is out.

Loss and gradients are those of softmax_loss over the negatives as columns. hidden: (N, d). items:
(V, d). negatives: (K,) or (N, K).

    shared    the rows of the negatives are gathered, and softmax_loss's kernels run on those: 4 N K
              d operations forward and backward
    private   a program for a row gathers its negatives a block at a time: K d numbers read a row,
              forward and backward, 2 operations a number, so the memory (L2, where the table fits
              there) is the limit. The backward leaves dz (N, K + 1), the target last

The table's gradient adds up, in fp32, the entries of every row in their order, sorted by row: no
atomics, the same bits every time.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .. import held_if
from ..addresses import contiguous
from .online_softmax import LOG2E, rescale
from .rows import block_columns, segment_sum
from .softmax_loss import (
    NOTHING,
    backward_columns,
    expm1,
    fits,
    fits_backward,
    forward_columns,
    join_target,
)
from .target import all_registers

PRIVATE_ELEMENTS = 4096  # of a block of negatives


@triton.jit
def _private_logits(
    h, p_items, p_bias, p_log_q, item, place, m_place, d, BLOCK_D: tl.constexpr, BIAS: tl.constexpr,
    LOG_Q: tl.constexpr,
):  # fmt: skip
    """z of some items, and their rows (KEYS, BLOCK_D), fp32."""
    k = tl.arange(0, BLOCK_D)
    c = tl.load(
        p_items + item[:, None] * d + k[None, :], m_place[:, None] & (k[None, :] < d), other=0.0
    ).to(tl.float32)
    z = tl.sum(c * h[None, :], 1)
    if BIAS:
        z += tl.load(p_bias + item, m_place, other=0.0).to(tl.float32)
    if LOG_Q:
        z -= tl.load(p_log_q + place, m_place, other=0.0).to(tl.float32)
    return z, c


@triton.jit
def _private_forward_kernel(
    p_hidden, p_items, p_bias, p_log_q, p_targets, p_negatives, p_loss, p_dhidden, p_lse, K, d,
    BLOCK_D: tl.constexpr, KEYS: tl.constexpr, BIAS: tl.constexpr, LOG_Q: tl.constexpr,
):  # fmt: skip
    row, k, one = tl.program_id(0).to(tl.int64), tl.arange(0, BLOCK_D), tl.zeros((1,), tl.int64)
    target = tl.load(p_targets + row + one)
    h = tl.load(p_hidden + row * d + k, k < d, other=0.0).to(tl.float32)
    maximum = tl.full((1,), NOTHING, tl.float32)
    total = tl.zeros((1,), tl.float32)
    acc = tl.zeros((BLOCK_D,), tl.float32)
    for start in range(0, K, KEYS):
        place = start + tl.arange(0, KEYS)
        item = tl.load(p_negatives + row * K + place, place < K, other=0)
        z, c = _private_logits(
            h, p_items, p_bias, p_log_q, item, row * K + place, place < K, d, BLOCK_D, BIAS, LOG_Q
        )
        z = tl.where((place < K) & (item != target), z, float("-inf"))
        maximum, factor = rescale(maximum, tl.max(z, 0, keep_dims=True), LOG2E)
        e = tl.exp2((z - maximum) * LOG2E)
        total = total * factor + tl.sum(e, 0, keep_dims=True)
        acc = acc * factor + tl.sum(e[:, None] * c, 0)
    valid = target >= 0
    z_target, c = _private_logits(
        h, p_items, p_bias, p_log_q, tl.maximum(target, 0), one, valid, d, BLOCK_D, BIAS, False
    )
    loss, q, lse = join_target(maximum, total, z_target)
    dhidden = q * (acc / tl.where(total == 0.0, 1.0, total) - tl.sum(c, 0))
    tl.store(p_loss + row + one, tl.where(valid, loss, 0.0))
    tl.store(p_lse + row + one, tl.where(valid, lse, 0.0))
    tl.store(
        p_dhidden + row * d + k, tl.where(valid, dhidden, 0.0).to(p_dhidden.dtype.element_ty), k < d
    )


@triton.jit
def _private_dz_kernel(
    p_dloss, p_hidden, p_items, p_bias, p_log_q, p_targets, p_negatives, p_loss, p_lse, p_dz, K, d,
    BLOCK_D: tl.constexpr, KEYS: tl.constexpr, BIAS: tl.constexpr, LOG_Q: tl.constexpr,
):  # fmt: skip
    row, k, one = tl.program_id(0).to(tl.int64), tl.arange(0, BLOCK_D), tl.zeros((1,), tl.int64)
    target, dloss = tl.load(p_targets + row + one), tl.load(p_dloss + row + one).to(tl.float32)
    lse = tl.load(p_lse + row + one).to(tl.float32)
    h = tl.load(p_hidden + row * d + k, k < d, other=0.0).to(tl.float32)
    for start in range(0, K, KEYS):
        place = start + tl.arange(0, KEYS)
        item = tl.load(p_negatives + row * K + place, place < K, other=0)
        z, _ = _private_logits(
            h, p_items, p_bias, p_log_q, item, row * K + place, place < K, d, BLOCK_D, BIAS, LOG_Q
        )
        dz = tl.where((target >= 0) & (item != target), tl.exp2((z - lse) * LOG2E) * dloss, 0.0)
        tl.store(p_dz + row * (K + 1) + place, dz, place < K)
    at_target = expm1(-tl.load(p_loss + row + one).to(tl.float32)) * dloss
    tl.store(p_dz + row * (K + 1) + K + one, tl.where(target >= 0, at_target, 0.0))


def _private(
    hidden: Tensor, bias: Tensor | None, log_q: Tensor | None
) -> tuple[tuple[Tensor, Tensor], dict[str, int | bool]]:
    """Tensors for bias and log q (any, where there is none), and the kernels' constants."""
    block_d = block_columns(hidden.shape[1])
    constants = {
        "BLOCK_D": block_d,
        "KEYS": max(1, PRIVATE_ELEMENTS // block_d),
        "BIAS": bias is not None,
        "LOG_Q": log_q is not None,
    }
    constants |= all_registers()
    return (hidden if bias is None else bias, hidden if log_q is None else log_q), constants


def _columns(
    items: Tensor, bias: Tensor | None, negatives: Tensor, log_q: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """What shared negatives are as columns: their rows, and what is added to their logits."""
    column_bias = None if bias is None else bias[negatives]
    if log_q is not None:
        column_bias = -log_q if column_bias is None else column_bias - log_q
    return items[negatives], column_bias


@held_if(fits)
def sampled_softmax_loss(
    hidden: Tensor,
    items: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    negatives: Tensor,
    log_q: Tensor | None,
    sparse: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    hidden, items, bias, targets, negatives, log_q = contiguous(
        hidden, items, bias, targets, negatives, log_q
    )
    if negatives.dim() == 1:
        return forward_columns(
            hidden, items, bias, targets, *_columns(items, bias, negatives, log_q), negatives
        )
    n, d = hidden.shape
    loss, lse = (hidden.new_empty(n, dtype=torch.float32) for _ in range(2))
    dhidden = torch.empty_like(hidden)
    tensors, constants = _private(hidden, bias, log_q)
    if n:
        _private_forward_kernel[(n,)](
            hidden, items, *tensors, targets, negatives, loss, dhidden, lse, negatives.shape[1], d,
            **constants
        )  # fmt: skip
    return loss, dhidden, lse


@held_if(fits_backward)
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
    inputs = dloss, hidden, items, bias, targets, negatives, log_q, loss, lse
    dloss, hidden, items, bias, targets, negatives, log_q, loss, lse = contiguous(*inputs)
    n, d = hidden.shape
    valid, per_value = targets >= 0, 1
    to_target = torch.where(valid, target_rows, -1)
    if negatives.dim() == 1:
        columns, column_bias = _columns(items, bias, negatives, log_q)
        dcolumns, dcolumn_bias = backward_columns(
            dloss, hidden, columns, column_bias, targets, loss, lse, negatives, torch.float32
        )
        at_target = torch.expm1(-loss) * dloss
        values, rows = torch.cat((dcolumns, hidden.float())), torch.cat((negative_rows, to_target))
        factors = torch.cat((torch.ones_like(negatives, dtype=torch.float32), at_target))
        # Of the bias, entry by entry; without one it is not asked for.
        dz = at_target if dcolumn_bias is None else torch.cat((dcolumn_bias, at_target))
    else:
        k = negatives.shape[1]
        dz = hidden.new_empty((n, k + 1), dtype=torch.float32)
        tensors, constants = _private(hidden, bias, log_q)
        if n:
            _private_dz_kernel[(n,)](
                dloss, hidden, items, *tensors, targets, negatives, loss, lse, dz, k, d, **constants
            )
        to_negatives = torch.where(valid[:, None], negative_rows, -1)
        values, rows, factors, per_value = (
            hidden,
            torch.cat((to_negatives, to_target[:, None]), 1).flatten(),
            dz,
            k + 1,
        )
    ordered = rows.sort(stable=True)
    ditems = segment_sum(
        values, ordered, num_rows, items.dtype, factors=factors, per_value=per_value
    )
    return ditems, None if bias is None else segment_sum(
        dz.reshape(-1, 1), ordered, num_rows, bias.dtype
    ).flatten()


OPERATORS = (sampled_softmax_loss, sampled_softmax_loss_backward)
