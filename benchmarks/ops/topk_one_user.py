"""The 10 best of 10 million items for one user: the time to read the table. Moved: the table."""

from __future__ import annotations

import torch

from b4r_fast import ops

from ..batch import Batch
from .op import Op

LIMIT = "bandwidth"
ITEMS, K = 10_000_000, 10


def count(work, batch: Batch, *, num_items: int = ITEMS) -> dict[str, int]:
    return {"forward": num_items * work.hidden_size}


def _inputs(work, num_items: int):
    """A block of random rows, repeated: drawing so many numbers would take longer than all else."""
    block = torch.randn(min(num_items, 100_000), work.hidden_size)
    items = torch.empty(num_items, work.hidden_size)
    for part in items.split(len(block)):
        part.copy_(block[: len(part)])
    # So that not every best item is a tie.
    items[:: len(block)] += 1e-3 * torch.arange(-(-num_items // len(block)))[:, None]
    return torch.randn(1, work.hidden_size), items


def b4r_fast(work, *, num_items: int = ITEMS) -> Op:
    def make(batch: Batch):
        return lambda hidden, items: ops.topk(hidden, items, None, K), _inputs(work, num_items)

    return Op(make, differentiable=False, static_shapes=True)


def pytorch(work, *, num_items: int = ITEMS) -> Op:
    def make(batch: Batch):
        return lambda hidden, items: torch.topk(torch.mv(items, hidden[0]), K), _inputs(
            work, num_items
        )

    return Op(make, differentiable=False, static_shapes=True)


CONTENDERS = {"b4r_fast": b4r_fast, "mv + torch.topk": pytorch}
