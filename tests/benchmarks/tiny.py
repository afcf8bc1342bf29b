"""Small work for the tests of the benchmarks."""

from dataclasses import replace

import torch

from b4r_fast import ops
from benchmarks.batch import Batch
from benchmarks.workloads import WORKS

LENGTHS = [7, 1, 12, 3, 9, 4, 2, 5, 11, 6]


def tiny_work(name: str = "ml-1m", **changes):
    """The work of that name with 50 items and sequences of at most 12, without dropout."""
    sizes = {
        "num_items": 50,
        "max_length": 12,
        "hidden_size": 16,
        "num_heads": 2,
        "num_negatives": 8,
        "dropout": 0.0,
    }
    return replace(WORKS[name], **sizes | changes)


def tiny_batch(work) -> Batch:
    generator = torch.Generator().manual_seed(3)
    rows = [torch.randperm(work.num_items, generator=generator)[:length] + 1 for length in LENGTHS]
    cu_seqlens = torch.tensor([0, *LENGTHS]).cumsum(0).int()
    values, labels = ops.cloze_mask(
        torch.cat(rows),
        cu_seqlens,
        mask_prob=0.4,
        last_only=0.0,
        mask_id=work.num_items + 1,
        seed=torch.tensor(5),
    )
    return Batch(values, cu_seqlens, labels, work.num_items, work.max_length, "made for the tests")
