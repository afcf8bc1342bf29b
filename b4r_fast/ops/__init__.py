"""The ops: each usable alone, with autograd, under torch.compile; docs/ has a page on the maths of each."""

from .adamw_rows import adamw_rows
from .attention import attention, joint_attention
from .cloze_mask import cloze_mask
from .dropout import dropout
from .embedding_layer_norm import embedding_layer_norm
from .gelu_ffn import gelu_ffn
from .linear import linear
from .rank import rank
from .residual_layer_norm import residual_layer_norm
from .sample_negatives import sample_negatives
from .sampled_softmax_loss import sampled_softmax_loss
from .softmax_loss import softmax_loss
from .topk import topk

__all__ = [
    "adamw_rows",
    "attention",
    "cloze_mask",
    "dropout",
    "embedding_layer_norm",
    "gelu_ffn",
    "joint_attention",
    "linear",
    "rank",
    "residual_layer_norm",
    "sample_negatives",
    "sampled_softmax_loss",
    "softmax_loss",
    "topk",
]
