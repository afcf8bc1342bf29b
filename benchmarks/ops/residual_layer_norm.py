"""LN(x + Dropout(sublayer)) on packed tokens, for both. Moved: x, sublayer and y; then dy, x,
sublayer and the two gradients.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from b4r_fast import ops

from ..batch import Batch
from .op import Op

LIMIT = "bandwidth"


def count(work, batch: Batch) -> dict[str, int]:
    array = batch.values.numel() * work.hidden_size
    return {"forward": 3 * array, "backward": 5 * array}


def _inputs(work, batch: Batch):
    d = work.hidden_size
    return *torch.randn(2, batch.values.numel(), d).unbind(), torch.randn(d), torch.randn(d)


def b4r_fast(work, *, dropout: float) -> Op:
    return Op(
        lambda batch: (
            lambda x, s, w, b: ops.residual_layer_norm(x, s, w, b, eps=1e-12, dropout_p=dropout),
            _inputs(work, batch),
        )
    )


def pytorch(work, *, dropout: float) -> Op:
    def function(x, s, w, b):
        return F.layer_norm(x + F.dropout(s, dropout), (work.hidden_size,), w, b, 1e-12)

    return Op(lambda batch: (function, _inputs(work, batch)))


CONTENDERS = {"b4r_fast": b4r_fast, "PyTorch": pytorch}
