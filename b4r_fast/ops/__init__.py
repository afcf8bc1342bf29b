"""The ops: each usable alone, with autograd, under torch.compile; docs/ has a page on the maths of
each.
"""

from .adamw_rows import adamw_rows
from .attention import attention
from .cloze_mask import cloze_mask
from .dropout import dropout
from .embedding_layer_norm import embedding_layer_norm
from .gelu_ffn import gelu_ffn
from .joint_attention import joint_attention
from .linear import linear
from .linear_gelu_layer_norm import linear_gelu_layer_norm
from .rank import rank
from .residual_ffn_layer_norm import residual_ffn_layer_norm
from .residual_layer_norm import residual_layer_norm
from .residual_linear_layer_norm import residual_linear_layer_norm
from .sample_negatives import sample_negatives
from .sampled_softmax_loss import sampled_softmax_loss
from .select_labelled import select_labelled
from .selected_projection import selected_projection
from .softmax_loss import softmax_loss
from .token_positions import token_positions
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
    "linear_gelu_layer_norm",
    "rank",
    "residual_ffn_layer_norm",
    "residual_layer_norm",
    "residual_linear_layer_norm",
    "sample_negatives",
    "sampled_softmax_loss",
    "select_labelled",
    "selected_projection",
    "softmax_loss",
    "token_positions",
    "topk",
]
