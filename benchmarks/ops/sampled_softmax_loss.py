"""The loss over shared negatives with the logQ correction; hits on the target are out. Drawing the
negatives is not timed.
"""

from __future__ import annotations

import torch

from b4r_fast import ops

from .. import operations
from ..batch import IGNORED, Batch
from ..peers.pytorch import sampled_loss
from .op import Op
from .softmax_loss import _inputs

LIMIT = "fma"


def count(work, batch: Batch) -> dict[str, int]:
    return operations.softmax_loss(
        int((batch.labels != IGNORED).sum()), work.num_negatives + 1, work.hidden_size
    )


def _negatives(work):
    rows, log_q = ops.sample_negatives(work.num_negatives, work.num_items, seed=torch.tensor(1))
    return rows, log_q.to(torch.get_default_dtype())


def b4r_fast(work) -> Op:
    def make(batch: Batch):
        inputs, targets = _inputs(work, batch)
        negatives, log_q = _negatives(work)
        return lambda hidden, items, bias: ops.sampled_softmax_loss(
            hidden, items, bias, targets, negatives, log_q=log_q
        ), inputs

    return Op(make)


def pytorch(work) -> Op:
    def make(batch: Batch):
        inputs, targets = _inputs(work, batch)
        negatives, log_q = _negatives(work)
        return lambda hidden, items, bias: sampled_loss(
            hidden, items, bias, targets, negatives, log_q
        ), inputs

    return Op(make)


CONTENDERS = {"b4r_fast": b4r_fast, "PyTorch": pytorch}
