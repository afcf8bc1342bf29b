"""The softmax head on the hidden tokens alone, for all.

F.linear_cross_entropy came with torch 2.13; without options it is F.cross_entropy of F.linear, with
them it works in chunks of rows. cut-cross-entropy leaves out small gradients unless told not to;
here it does what it does unasked.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from b4r_fast import ops

from .. import operations
from ..batch import IGNORED, Batch
from ..measure import now
from .op import Op

LIMIT = "fma"
CHUNKS = (128, 512, 2048)  # rows; the best of them is taken


def count(work, batch: Batch) -> dict[str, int]:
    return operations.softmax_loss(
        int((batch.labels != IGNORED).sum()), work.num_items, work.hidden_size
    )


def _inputs(work, batch: Batch):
    """Hidden states, table and bias, and the targets."""
    targets = batch.labels[batch.labels != IGNORED] - 1
    d = work.hidden_size
    return (
        torch.randn(targets.numel(), d),
        torch.randn(work.num_items, d) * 0.1,
        torch.randn(work.num_items) * 0.1,
    ), targets


def b4r_fast(work) -> Op:
    def make(batch: Batch):
        inputs, targets = _inputs(work, batch)
        return lambda hidden, items, bias: ops.softmax_loss(hidden, items, bias, targets), inputs

    return Op(make)


def cross_entropy(work) -> Op:
    def make(batch: Batch):
        inputs, targets = _inputs(work, batch)
        return lambda hidden, items, bias: F.cross_entropy(
            F.linear(hidden, items, bias), targets
        ), inputs

    return Op(make)


def _chunked(targets, **options):
    options = torch.nn.LinearCrossEntropyOptions(**options)
    return lambda hidden, items, bias: F.linear_cross_entropy(
        hidden, items, targets, linear_bias=bias, options=options
    )


def linear_cross_entropy(work) -> Op:
    def make(batch: Batch):
        inputs, targets = _inputs(work, batch)
        return _chunked(targets), inputs

    return Op(make)


def linear_cross_entropy_best(work) -> Op:
    def make(batch: Batch):
        inputs, targets = _inputs(work, batch)
        leaves = [tensor.clone().requires_grad_() for tensor in inputs]

        def seconds(rows: int) -> float:
            start = now()
            torch.autograd.grad(_chunked(targets, batch_chunk_size=rows)(*leaves), leaves)
            return now() - start

        best = min(
            (rows for rows in CHUNKS if rows < targets.numel()), key=seconds, default=CHUNKS[0]
        )
        return _chunked(targets, batch_chunk_size=best), inputs

    return Op(make)


def cut_cross_entropy(work) -> Op:
    from cut_cross_entropy import linear_cross_entropy

    def make(batch: Batch):
        inputs, targets = _inputs(work, batch)
        return lambda hidden, items, bias: linear_cross_entropy(
            hidden, items, targets, bias=bias
        ), inputs

    return Op(make, package="cut-cross-entropy")


def liger(work) -> Op:
    from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

    loss = LigerFusedLinearCrossEntropyLoss()

    def make(batch: Batch):
        inputs, targets = _inputs(work, batch)
        return lambda hidden, items, bias: loss(items, hidden, targets, bias), inputs

    return Op(make, package="liger-kernel")


CONTENDERS = {
    "b4r_fast": b4r_fast,
    "F.cross_entropy": cross_entropy,
    "F.linear_cross_entropy, auto": linear_cross_entropy,
    "F.linear_cross_entropy, best chunk": linear_cross_entropy_best,
}
ON_GPU = {"cut-cross-entropy": cut_cross_entropy, "Liger": liger}
