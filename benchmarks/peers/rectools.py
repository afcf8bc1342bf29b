"""RecTools' BERT4Rec, composed as its BERT4RecModel composes it: pre-norm, fixed length, left
padding, the logits of every token.
"""

from __future__ import annotations

from importlib.metadata import version

import torch
from rectools.models.nn.item_net import IdEmbeddingsItemNet, SumOfEmbeddingsConstructor
from rectools.models.nn.transformers.lightning import TransformerLightningModule
from rectools.models.nn.transformers.net_blocks import (
    LearnableInversePositionalEncoding,
    PreLNTransformerLayers,
)
from rectools.models.nn.transformers.similarity import DistanceSimilarityModule
from rectools.models.nn.transformers.torch_backbone import TransformerTorchBackbone

from ..batch import IGNORED, Batch
from .training_step import TrainingStep

EXTRA_TOKENS = 2  # 0 is padding, 1 is [MASK], items follow


def build(work) -> TrainingStep:
    n_items, d = work.num_items + EXTRA_TOKENS, work.hidden_size
    model = TransformerTorchBackbone(
        n_heads=work.num_heads,
        dropout_rate=work.dropout,
        item_model=SumOfEmbeddingsConstructor(
            n_items, [IdEmbeddingsItemNet(d, n_items, work.dropout)]
        ),
        pos_encoding_layer=LearnableInversePositionalEncoding(True, work.max_length, d),
        transformer_layers=PreLNTransformerLayers(work.num_layers, d, work.num_heads, work.dropout),
        similarity_module=DistanceSimilarityModule(),
        use_causal_attn=False,
        use_key_padding_mask=True,
    )
    for parameter in model.parameters():  # as its Lightning module does when training starts
        if parameter.dim() > 1:
            torch.nn.init.xavier_normal_(parameter)

    def prepare(batch: Batch):
        hidden = batch.labels != IGNORED
        x = torch.where(hidden, 1, batch.values + EXTRA_TOKENS - 1)
        y = torch.where(hidden, batch.labels + EXTRA_TOKENS - 1, 0)
        x, y = (batch.pad(tokens, 0, length=batch.max_length, left=True) for tokens in (x, y))
        weights = (x != 0).float()
        return lambda: TransformerLightningModule._calc_softmax_loss(model({"x": x}), y, weights)

    return TrainingStep(model, prepare, f"rectools {version('rectools')}")
