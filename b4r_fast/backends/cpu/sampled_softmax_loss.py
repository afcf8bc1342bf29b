"""Glue to csrc/cpu/sampled_softmax_loss.cpp, which has the maths. Negatives that are private to a row run in the reference."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import reference
from .instruction_sets import addresses, contiguous, native


def sampled_softmax_loss(
    hidden: Tensor, items: Tensor, bias: Tensor | None, targets: Tensor, negatives: Tensor, log_q: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    if negatives.dim() == 2:
        return reference.sampled_softmax_loss(hidden, items, bias, targets, negatives, log_q)
    inputs = contiguous(hidden, items, bias, targets, negatives, log_q)
    sizes = (*hidden.shape, *negatives.shape, items.shape[0])
    loss, lse, dhidden = hidden.new_empty(hidden.shape[0]), hidden.new_empty(hidden.shape[0]), hidden.new_empty(hidden.shape)
    native.sampled_softmax_loss(*addresses(*inputs), *sizes, *addresses(loss, dhidden, lse), torch.get_num_threads())
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
) -> tuple[Tensor, Tensor | None]:
    if negatives.dim() == 2:
        return reference.sampled_softmax_loss_backward(dloss, hidden, items, bias, targets, negatives, log_q, loss, lse)
    inputs = contiguous(dloss, hidden, items, bias, targets, negatives, log_q)
    outputs = (loss.contiguous(), lse.contiguous(), items.new_empty(items.shape), None if bias is None else bias.new_empty(bias.shape))
    sizes = (*hidden.shape, *negatives.shape, items.shape[0])
    native.sampled_softmax_loss_backward(*addresses(*inputs), *sizes, *addresses(*outputs), torch.get_num_threads())
    return outputs[2], outputs[3]
