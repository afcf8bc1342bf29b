"""C++ kernels for the CPU: thin glue over csrc/cpu. The module for the best instruction set of this CPU is chosen at import.

The environment variable B4R_FAST_ISA (baseline, avx2 or avx512) forces one; ValueError where it cannot run here.
"""

from __future__ import annotations

import torch

from . import instruction_sets

DEVICES = ("cpu",)
DTYPES = (torch.float32,)
UNAVAILABLE = instruction_sets.UNAVAILABLE
OPERATORS: dict = {}

if UNAVAILABLE is None:
    from .attention import attention, attention_backward
    from .gelu_ffn import gelu_ffn, gelu_ffn_backward
    from .rank import rank
    from .residual_layer_norm import residual_layer_norm, residual_layer_norm_backward
    from .topk import topk

    OPERATORS = {
        function.__name__: function
        for function in (
            attention,
            attention_backward,
            gelu_ffn,
            gelu_ffn_backward,
            rank,
            residual_layer_norm,
            residual_layer_norm_backward,
            topk,
        )
    }
