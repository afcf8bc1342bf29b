"""Glue to csrc/cpu/softmax_loss.cpp, which has the maths."""

from __future__ import annotations

import torch
from torch import Tensor

from ..addresses import addresses, contiguous
from ..reference.reduce_loss import sum_of_rows, weight_of_a_row
from .instruction_sets import native


def softmax_loss(
    hidden: Tensor, items: Tensor, bias: Tensor | None, targets: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    inputs = contiguous(hidden, items, bias, targets)
    loss, lse, dhidden = (
        hidden.new_empty(hidden.shape[0]),
        hidden.new_empty(hidden.shape[0]),
        hidden.new_empty(hidden.shape),
    )
    native.softmax_loss(
        *addresses(*inputs),
        *hidden.shape,
        items.shape[0],
        *addresses(loss, dhidden, lse),
        torch.get_num_threads(),
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
    dloss, loss, lse = dloss.contiguous(), loss.contiguous(), lse.contiguous()
    inputs = contiguous(hidden, items, bias, targets)
    ditems, dbias = (
        items.new_empty(items.shape),
        None if bias is None else bias.new_empty(bias.shape),
    )
    sizes = (*hidden.shape, items.shape[0])
    native.softmax_loss_backward(
        *addresses(dloss, *inputs),
        *sizes,
        *addresses(loss, lse, ditems, dbias),
        torch.get_num_threads(),
    )
    return ditems, dbias


def reduced_softmax_loss(
    hidden: Tensor,
    items: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    weights: Tensor | None,
    mean: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
    inputs = contiguous(hidden, items, bias, targets, weights)
    loss, dhidden, ditems = (
        hidden.new_empty(()),
        hidden.new_empty(hidden.shape),
        items.new_empty(items.shape),
    )
    dbias = None if bias is None else bias.new_empty(bias.shape)
    weight = weight_of_a_row(targets, mean, loss.dtype)
    outputs = addresses(loss, dhidden, ditems, dbias)
    if native.softmax_loss_sum(
        *addresses(*inputs), *hidden.shape, items.shape[0], *outputs, torch.get_num_threads()
    ):
        return loss * weight, weight, dhidden, ditems, dbias
    losses, dhidden, lse = softmax_loss(hidden, items, bias, targets)
    counts = torch.ones_like(losses) if weights is None else weights
    gradients = softmax_loss_backward(counts, hidden, items, bias, targets, losses, lse)
    loss = sum_of_rows(losses * counts)
    return loss * weight, weight, dhidden * counts[:, None], *gradients


OPERATORS = (softmax_loss, softmax_loss_backward, reduced_softmax_loss)
