"""The feed-forward network on packed tokens, for both."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from b4r_fast import ops

from .. import operations
from ..batch import Batch
from .op import Op

LIMIT = "fma"


def count(work, batch: Batch) -> dict[str, int]:
    return operations.gelu_ffn(batch.values.numel(), work.hidden_size)


def _inputs(work, batch: Batch):
    d, f = work.hidden_size, 4 * work.hidden_size
    return (
        torch.randn(batch.values.numel(), d),
        torch.randn(f, d) * 0.1,
        torch.randn(f),
        torch.randn(d, f) * 0.1,
        torch.randn(d),
    )


def b4r_fast(work) -> Op:
    return Op(lambda batch: (ops.gelu_ffn, _inputs(work, batch)))


def pytorch(work) -> Op:
    return Op(
        lambda batch: (
            lambda x, w1, b1, w2, b2: F.linear(F.gelu(F.linear(x, w1, b1)), w2, b2),
            _inputs(work, batch),
        )
    )


CONTENDERS = {"b4r_fast": b4r_fast, "PyTorch": pytorch}
