"""The best items of each row, without a score matrix kept."""

from __future__ import annotations

import torch
from torch import Tensor

from .checks import check_offsets, check_rows, check_tensors
from .registration import define

Exclude = tuple[Tensor, Tensor]


def check_exclude(exclude: Exclude | None, hidden: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """The rows that each row leaves out, as (item rows (E,) int64, offsets (N + 1,) int32)."""
    if exclude is None:
        return None, None
    rows, offsets = exclude
    check_tensors(torch.int64, {}, hidden, exclude=(rows, "E"))
    check_tensors(
        torch.int32, {"N+1": hidden.shape[0] + 1}, hidden, **{"exclude offsets": (offsets, "N+1")}
    )
    return rows, offsets


def check_exclude_values(exclude: Tensor | None, offsets: Tensor | None, num_rows: int) -> None:
    if exclude is not None and offsets is not None:
        check_rows("exclude", exclude, "items", num_rows)
        check_offsets("exclude offsets", offsets, exclude.shape[0])


def _fake(hidden, items, bias, k, exclude, exclude_offsets, candidates):
    return hidden.new_empty(hidden.shape[0], k), hidden.new_empty(
        (hidden.shape[0], k), dtype=torch.int64
    )


def _check_values(hidden, items, bias, k, exclude, exclude_offsets, candidates):
    check_exclude_values(exclude, exclude_offsets, items.shape[0])
    if candidates is not None:
        check_rows("candidates", candidates, "items", items.shape[0])


_topk_op = define(
    "topk(Tensor hidden, Tensor items, Tensor? bias, SymInt k, Tensor? exclude, Tensor?"
    " exclude_offsets, Tensor? candidates)"
    " -> (Tensor scores, Tensor rows)",
    _fake,
    check_values=_check_values,
)


@torch.no_grad()
def topk(
    hidden: Tensor,
    items: Tensor,
    bias: Tensor | None,
    k: int,
    *,
    exclude: Exclude | None = None,
    candidates: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The k rows of items with the highest hidden items^T + bias, best first; ties: the lower row
    first. Not differentiable.

    hidden: (N, d). items: (V, d). bias: (V,) or None. exclude: (rows (E,) int64, offsets (N + 1,)
    int32), row i leaves out rows[offsets[i]:offsets[i + 1]]. candidates: int64 rows of items, (C,)
    for all rows or (N, C) for each; None: all. Returns scores (N, k) and rows (N, k) int64; where
    fewer than k remain, -inf and -1. A score that is not a number is -inf, and left out. Raises
    ValueError for a wrong shape, dtype, device, row, or k below 1.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    sizes = check_tensors(None, {}, hidden=(hidden, "N d"), items=(items, "V d"), bias=(bias, "V"))
    if candidates is not None:
        check_tensors(
            torch.int64,
            sizes,
            hidden,
            candidates=(candidates, "C" if candidates.dim() == 1 else "N C"),
        )
    return _topk_op(hidden, items, bias, k, *check_exclude(exclude, hidden), candidates)
