"""The k best items of each row by z_ij = h_i . C_j + b_j, best first, ties by the lower item row.
docs/topk.md.

Excluded rows, what is not a candidate, and scores of -inf or that are not numbers are left out;
where fewer than k remain, score -inf and row -1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .residual_layer_norm import at_least_fp32
from .softmax_loss import logits, row_blocks


def scores(hidden: Tensor, items: Tensor, bias: Tensor | None) -> Tensor:
    """The logits (N, V), -inf, the worst, where they are not numbers."""
    z = logits(hidden, items, bias)
    return z.masked_fill_(z.isnan(), -torch.inf)


def exclude_from(
    z: Tensor, block: slice, exclude: Tensor | None, exclude_offsets: Tensor | None, value: float
) -> Tensor:
    """Overwrite the logits of each row's excluded item rows: row i excludes
    exclude[exclude_offsets[i]:exclude_offsets[i + 1]].
    """
    if exclude is None or exclude_offsets is None:
        return z
    offsets = exclude_offsets[block.start : block.stop + 1].long()
    row = torch.repeat_interleave(torch.arange(z.shape[0], device=z.device), offsets.diff())
    z[row, exclude[offsets[0] : offsets[-1]]] = value
    return z


def sorted_lists(exclude: Tensor, offsets: Tensor, num_items: int) -> Tensor:
    """row * num_items + item for every entry of the rows' lists, ascending: sorted within the rows,
    which stay where they are.
    """
    row = (
        torch.searchsorted(
            offsets, torch.arange(exclude.shape[0], device=exclude.device), right=True
        )
        - 1
    )
    return (row * num_items + exclude).sort()[0]


def topk(
    hidden: Tensor,
    items: Tensor,
    bias: Tensor | None,
    k: int,
    exclude: Tensor | None,
    exclude_offsets: Tensor | None,
    candidates: Tensor | None,
) -> tuple[Tensor, Tensor]:
    n = hidden.shape[0]
    best_scores = hidden.new_full((n, k), -torch.inf)
    rows = torch.full((n, k), -1, device=hidden.device)
    hidden, items = at_least_fp32(hidden), at_least_fp32(items)  # halves would tie too often
    for block in row_blocks(n, items.shape[0]):
        z = exclude_from(
            scores(hidden[block], items, bias), block, exclude, exclude_offsets, -torch.inf
        )
        if candidates is not None:
            allowed = candidates.expand(n, -1)[block]
            z = torch.full_like(z, -torch.inf).scatter_(1, allowed, z.gather(1, allowed))
        # Only a stable sort has defined ties.
        best, order = z.sort(dim=1, descending=True, stable=True)
        found = min(k, z.shape[1])
        best_scores[block, :found] = best[:, :found]
        rows[block, :found] = order[:, :found].masked_fill(best[:, :found] == -torch.inf, -1)
    return best_scores, rows


OPERATORS = (topk,)
