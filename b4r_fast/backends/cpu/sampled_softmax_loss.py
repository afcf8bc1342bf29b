"""Glue to csrc/cpu/sampled_softmax_loss.cpp, which has the maths."""

from __future__ import annotations

import torch
from torch import Tensor

from ..addresses import addresses, contiguous
from .instruction_sets import native


def _sizes(hidden: Tensor, negatives: Tensor) -> tuple[int, int, int, bool]:
    return (*hidden.shape, negatives.shape[-1], negatives.dim() == 1)


def sampled_softmax_loss(
    hidden: Tensor,
    items: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    negatives: Tensor,
    log_q: Tensor | None,
    sparse: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    inputs = contiguous(hidden, items, bias, targets, negatives, log_q)
    loss, lse, dhidden = (
        hidden.new_empty(hidden.shape[0]),
        hidden.new_empty(hidden.shape[0]),
        hidden.new_empty(hidden.shape),
    )
    threads = torch.get_num_threads()
    native.sampled_softmax_loss(
        *addresses(*inputs), *_sizes(hidden, negatives), *addresses(loss, dhidden, lse), threads
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
    inputs = contiguous(
        dloss, hidden, items, bias, targets, negatives, log_q, loss, lse, target_rows, negative_rows
    )
    ditems, dbias = (
        items.new_empty(num_rows, items.shape[1]),
        None if bias is None else bias.new_empty(num_rows),
    )
    sizes = (*_sizes(hidden, negatives), num_rows)
    native.sampled_softmax_loss_backward(
        *addresses(*inputs), *sizes, *addresses(ditems, dbias), torch.get_num_threads()
    )
    return ditems, dbias


OPERATORS = (sampled_softmax_loss, sampled_softmax_loss_backward)
