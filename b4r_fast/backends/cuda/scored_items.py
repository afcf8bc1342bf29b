"""What rank and topk hand over."""

from __future__ import annotations

from torch import Tensor

from ..addresses import addresses
from ..devices import cut
from ..reference.topk import sorted_lists
from .module import DTYPES, native


def scored_items(hidden: Tensor, items: Tensor, bias: Tensor | None, rows_of_block: int):
    """hidden, items and bias, contiguous, in as many splits of the items as fill a GPU."""
    (n, d), v = hidden.shape, items.shape[0]
    splits, _ = cut(-(-v // native.ITEMS_OF_BLOCK), -(-n // rows_of_block))
    return native.ScoredItems(
        DTYPES[hidden.dtype], *addresses(hidden, items, bias), n, v, d, splits
    ), splits


def excluded(
    exclude: Tensor | None, offsets: Tensor | None, num_items: int
) -> tuple[Tensor | None, Tensor | None]:
    """The lists, each sorted; None where nothing is excluded."""
    if exclude is None or offsets is None or exclude.shape[0] == 0:
        return None, None
    return sorted_lists(exclude, offsets, num_items) % num_items, offsets.contiguous()
