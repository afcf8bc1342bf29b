"""Every op in plain PyTorch, dropout and sampling bits included: the definition of right, on any device and in any floating dtype."""

import torch

from .adamw_rows import adamw_rows
from .attention import attention, attention_backward, joint_attention, joint_attention_backward
from .cloze_mask import cloze_mask
from .composed import compose
from .dropout import dropout
from .embedding_layer_norm import embedding_layer_norm, embedding_layer_norm_backward
from .gelu_ffn import gelu_ffn, gelu_ffn_backward
from .linear import linear, linear_backward
from .rank import rank
from .residual_layer_norm import residual_layer_norm, residual_layer_norm_backward
from .sample_negatives import sample_negatives
from .sampled_softmax_loss import sampled_softmax_loss, sampled_softmax_loss_backward
from .select_labelled import select_labelled
from .softmax_loss import reduced_softmax_loss, softmax_loss, softmax_loss_backward, total_loss
from .token_positions import token_positions
from .topk import topk

DEVICES = ("cpu", "cuda")
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
UNAVAILABLE = None
_PARTS = {
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
        select_labelled,
        softmax_loss,
        softmax_loss_backward,
        token_positions,
        topk,
        total_loss,
    )
}
OPERATORS = _PARTS | compose(_PARTS)
