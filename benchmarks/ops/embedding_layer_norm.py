"""Item and position embedding, norm and dropout, on packed tokens for both, with a dense gradient
of the table.

Moved: a row read and one written for each token; then dy and the row again, and the table's
gradient.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from b4r_fast import ops

from ..batch import Batch
from .op import Op

LIMIT = "bandwidth"


def count(work, batch: Batch) -> dict[str, int]:
    array, table = batch.values.numel() * work.hidden_size, (work.num_items + 2) * work.hidden_size
    return {"forward": 2 * array, "backward": 2 * array + table}


def _inputs(work):
    d = work.hidden_size
    return (
        torch.randn(work.num_items + 2, d),
        torch.randn(work.max_length, d),
        torch.randn(d),
        torch.randn(d),
    )


def b4r_fast(work, *, dropout: float) -> Op:
    def make(batch: Batch):
        values, positions = batch.values, batch.positions()

        def function(*parameters):
            return ops.embedding_layer_norm(
                values, positions, *parameters, eps=1e-12, dropout_p=dropout
            )

        return function, _inputs(work)

    return Op(make)


def pytorch(work, *, dropout: float) -> Op:
    def make(batch: Batch):
        values, positions = batch.values, batch.positions()

        def function(e, p, w, b):
            return F.dropout(
                F.layer_norm(
                    F.embedding(values, e) + F.embedding(positions, p),
                    (work.hidden_size,),
                    w,
                    b,
                    1e-12,
                ),
                dropout,
            )

        return function, _inputs(work)

    return Op(make)


CONTENDERS = {"b4r_fast": b4r_fast, "PyTorch": pytorch}
