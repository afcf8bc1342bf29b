"""The 10 best items of each user, those of the history excluded."""

from __future__ import annotations

import torch

from b4r_fast import ops

from .. import operations
from ..batch import Batch
from .op import Op

LIMIT = "fma"
K = 10


def count(work, batch: Batch) -> dict[str, int]:
    return operations.scores(len(batch), work.num_items, work.hidden_size)


def _inputs(work, batch: Batch):
    d = work.hidden_size
    return torch.randn(len(batch), d), torch.randn(work.num_items, d), torch.randn(work.num_items)


def b4r_fast(work) -> Op:
    def make(batch: Batch):
        exclude = (batch.histories() - 1, batch.cu_seqlens)
        return lambda hidden, items, bias: ops.topk(
            hidden, items, bias, K, exclude=exclude
        ), _inputs(work, batch)

    return Op(make, differentiable=False)


def pytorch(work) -> Op:
    def make(batch: Batch):
        rows, seen = batch.sequence_of_token(), batch.histories() - 1

        def function(hidden, items, bias):
            scores = torch.addmm(bias, hidden, items.T)
            scores[rows, seen] = -torch.inf
            return torch.topk(scores, K)

        return function, _inputs(work, batch)

    return Op(make, differentiable=False)


CONTENDERS = {"b4r_fast": b4r_fast, "addmm + scatter + torch.topk": pytorch}
