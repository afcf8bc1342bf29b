"""Gradients of large tables as the rows that a step names, in torch's sparse layout, as
torch.nn.Embedding(sparse=True) has them.
"""

from __future__ import annotations

import torch
from torch import Tensor


def number_rows(*named: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The rows that the tensors name, each once and sorted, and the tensors with each row's place
    among them.

    Negative entries name no row, and have no place: 0 stands there.
    """
    flat = torch.cat([t.flatten() for t in named])
    rows, places = torch.unique(flat, return_inverse=True)
    none = torch.searchsorted(rows, 0)
    places = (places - none).clamp(min=0).split([t.numel() for t in named])
    return rows[none:], [place.reshape(t.shape) for place, t in zip(places, named)]


def sparse_gradient(rows: Tensor, values: Tensor, num_rows: int) -> Tensor:
    """A table of num_rows rows that is 0 but for these rows, which are unique and sorted."""
    size = (num_rows, *values.shape[1:])
    return torch.sparse_coo_tensor(
        rows[None], values, size, check_invariants=False, is_coalesced=True
    )
