"""Which tokens the loss reads, brought to a fixed number where that is asked for."""

from __future__ import annotations

import torch
from torch import Tensor

from .checks import check_offsets, check_tensors
from .registration import define


def _fake(labels, cu_seqlens, rows):
    index = labels.new_empty(rows)
    return index, torch.empty_like(index), torch.empty_like(cu_seqlens)


def _check_values(labels, cu_seqlens, rows):
    check_offsets("cu_seqlens", cu_seqlens, labels.shape[0])


_op = define(
    "select_labelled(Tensor labels, Tensor cu_seqlens, SymInt rows) -> (Tensor index, Tensor"
    " targets, Tensor cu_seqlens_q)",
    _fake,
    check_values=_check_values,
)


def select_labelled(labels: Tensor, cu_seqlens: Tensor, rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """(index, targets, cu_seqlens_q) of the tokens with a label, in their order, exactly `rows` of
    them.

    labels: (tokens,) int64, item ids, -100 elsewhere. cu_seqlens: (batch + 1,) int32. rows: at most
    tokens. Where fewer tokens have a label, the first tokens without one fill up, with a target of
    -100; where more have, the last of them are left out. So the number is known without reading the
    labels back from a GPU. Returns index (rows,) int64, ascending; targets (rows,) int64, label -
    1, the label's row of the item table, or -100; and cu_seqlens_q (batch + 1,) int32, sequence b
    owns rows cu_seqlens_q[b] to cu_seqlens_q[b + 1] - 1. Raises ValueError for a wrong shape,
    dtype, device, offsets or number of rows.
    """
    check_tensors(torch.int64, {}, labels=(labels, "tokens"))
    check_tensors(torch.int32, {}, labels, cu_seqlens=(cu_seqlens, "batch+1"))
    if not 0 <= rows <= labels.shape[0]:
        raise ValueError(
            f"rows must lie between 0 and the number of tokens, {labels.shape[0]}, got {rows}"
        )
    return _op(labels, cu_seqlens, rows)
