"""The rank of a target among all items, without a score matrix kept."""

from __future__ import annotations

import torch
from torch import Tensor

from .checks import check_rows, check_tensors
from .registration import define
from .topk import Exclude, check_exclude, check_exclude_values


def _fake(hidden, items, bias, targets, exclude, exclude_offsets):
    return torch.empty_like(targets)


def _check_values(hidden, items, bias, targets, exclude, exclude_offsets):
    check_rows("targets", targets, "items", items.shape[0])
    check_exclude_values(exclude, exclude_offsets, items.shape[0])


_rank_op = define(
    "rank(Tensor hidden, Tensor items, Tensor? bias, Tensor targets, Tensor? exclude, Tensor?"
    " exclude_offsets) -> Tensor",
    _fake,
    check_values=_check_values,
)


@torch.no_grad()
def rank(
    hidden: Tensor,
    items: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    *,
    exclude: Exclude | None = None,
) -> Tensor:
    """(N,) int64: the place of each row's target among all items by hidden items^T + bias, 1 the
    best. Not differentiable.

    hidden: (N, d). items: (V, d). bias: (V,) or None. targets: (N,) int64 rows of items. exclude:
    as in topk; the target itself always takes part. Ties count against the target; a score that is
    not a number is -inf. Raises ValueError for a wrong shape, dtype, device or row.
    """
    sizes = check_tensors(None, {}, hidden=(hidden, "N d"), items=(items, "V d"), bias=(bias, "V"))
    check_tensors(torch.int64, sizes, hidden, targets=(targets, "N"))
    return _rank_op(hidden, items, bias, targets, *check_exclude(exclude, hidden))
