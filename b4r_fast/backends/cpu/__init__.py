"""C++ kernels for the CPU: thin glue over csrc/cpu. The module for the best instruction set of this CPU is chosen at import.

The environment variable B4R_FAST_ISA (baseline, avx2 or avx512) forces one; ValueError where it cannot run here.
"""

from __future__ import annotations

import torch

from ..reference.composed import compose
from . import instruction_sets

DEVICES = ("cpu",)
DTYPES = (torch.float32,)
UNAVAILABLE = instruction_sets.UNAVAILABLE
OPERATORS: dict = {}

if UNAVAILABLE is None:
    from .adamw_rows import adamw_rows
    from .attention import attention, attention_backward, joint_attention, joint_attention_backward
    from .cloze_mask import cloze_mask
    from .dropout import dropout
    from .embedding_layer_norm import embedding_layer_norm, embedding_layer_norm_backward
    from .gelu_ffn import gelu_ffn, gelu_ffn_backward
    from .linear import linear, linear_backward
    from .rank import rank
    from .residual_layer_norm import residual_layer_norm, residual_layer_norm_backward
    from .sample_negatives import sample_negatives
    from .sampled_softmax_loss import sampled_softmax_loss, sampled_softmax_loss_backward
    from .softmax_loss import reduced_softmax_loss, softmax_loss, softmax_loss_backward
    from .topk import topk

    OPERATORS = {
        function.__name__: function
        for function in (
            adamw_rows,
            attention,
            attention_backward,
            cloze_mask,
            dropout,
            embedding_layer_norm,
            embedding_layer_norm_backward,
            gelu_ffn,
            gelu_ffn_backward,
            joint_attention,
            joint_attention_backward,
            linear,
            linear_backward,
            rank,
            reduced_softmax_loss,
            residual_layer_norm,
            residual_layer_norm_backward,
            sample_negatives,
            sampled_softmax_loss,
            sampled_softmax_loss_backward,
            softmax_loss,
            softmax_loss_backward,
            topk,
        )
    }
    OPERATORS |= compose(OPERATORS)
