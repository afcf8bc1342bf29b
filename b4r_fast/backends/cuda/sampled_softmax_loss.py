"""Glue to csrc/cuda/sampled_softmax_loss.cu, which has the maths, for negatives of each row's own.

Shared ones are a product of matrices, as softmax_loss is, and so are left to what serves that.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .. import held_if
from ..addresses import addresses, contiguous
from .module import DTYPES, native, stream


def _has_kernel(
    hidden: Tensor, items: Tensor, bias: Tensor | None, targets: Tensor, negatives: Tensor, *_
) -> bool:
    places = (hidden.shape[1] * hidden.element_size(), hidden.data_ptr(), items.data_ptr())
    # As the kernels decide: they read fewer columns one by one.
    in_vectors = all(place % 16 == 0 for place in places)
    return negatives.dim() == 2 and hidden.shape[1] <= native.most_columns(
        DTYPES[hidden.dtype], in_vectors
    )


def _rows(
    hidden: Tensor,
    items: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    negatives: Tensor,
    log_q: Tensor | None,
):
    tensors = addresses(hidden, items, bias, targets, negatives, log_q)
    return native.SampledRows(DTYPES[hidden.dtype], *tensors, *negatives.shape, hidden.shape[1])


@held_if(_has_kernel)
def sampled_softmax_loss(
    hidden: Tensor,
    items: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    negatives: Tensor,
    log_q: Tensor | None,
    sparse: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    tensors = contiguous(hidden, items, bias, targets, negatives, log_q)
    hidden = tensors[0]
    loss, lse = (hidden.new_empty(hidden.shape[0], dtype=torch.float32) for _ in range(2))
    dhidden = torch.empty_like(hidden)
    native.sampled_softmax_loss(_rows(*tensors), *addresses(loss, dhidden, lse), stream(hidden))
    return loss, dhidden, lse


@held_if(lambda dloss, *inputs: _has_kernel(*inputs))
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
    tensors = contiguous(hidden, items, bias, targets, negatives, log_q)
    incoming = [t.float().contiguous() for t in (dloss, loss, lse)]
    # Rows without a target add to none.
    add_to = torch.cat((negative_rows, target_rows[:, None]), 1).masked_fill(
        targets[:, None] < 0, -1
    )
    ordered, order = add_to.flatten().sort(stable=True)
    ditems = items.new_zeros(num_rows, items.shape[1])
    dbias = None if bias is None else bias.new_zeros(num_rows)
    rows = _rows(*tensors)
    partials = hidden.new_empty(rows.partials_size(), dtype=torch.float32)
    native.sampled_softmax_loss_backward(
        rows, *addresses(*incoming, ordered, order, ditems, dbias, partials), stream(hidden)
    )
    return ditems, dbias


OPERATORS = (sampled_softmax_loss, sampled_softmax_loss_backward)
