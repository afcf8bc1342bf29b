"""CUDA C++ kernels, for what Triton expresses badly: thin glue over csrc/cuda. They are built where there is nvcc (docs/gpu.md)."""

from __future__ import annotations

from ..devices import on_its_device
from . import module

DTYPES = tuple(module.DTYPES)
DEVICES = module.DEVICES
UNAVAILABLE = module.UNAVAILABLE
OPERATORS: dict = {}

if UNAVAILABLE is None:
    from .cloze_mask import cloze_mask
    from .rank import rank
    from .sample_negatives import sample_negatives
    from .sampled_softmax_loss import sampled_softmax_loss, sampled_softmax_loss_backward
    from .topk import topk

    OPERATORS = {
        operator.__name__: on_its_device(operator)
        for operator in (cloze_mask, rank, sample_negatives, sampled_softmax_loss, sampled_softmax_loss_backward, topk)
    }
