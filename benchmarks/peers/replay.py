"""RePlay's Bert4Rec: pre-norm, fixed length, left padding, output tied to the embedding as ours.

Option "loss": "CE_restricted" computes the logits of hidden tokens alone, "CE" those of all.
"""

from __future__ import annotations

from importlib.metadata import version

from replay.data import FeatureHint, FeatureType
from replay.data.nn import TensorFeatureInfo, TensorSchema
from replay.models.nn.sequential import Bert4Rec

from ..batch import IGNORED, Batch
from .training_step import TrainingStep


def build(work, *, loss: str) -> TrainingStep:
    item = TensorFeatureInfo(
        "item_id",
        feature_type=FeatureType.CATEGORICAL,
        is_seq=True,
        feature_hint=FeatureHint.ITEM_ID,
        cardinality=work.num_items,
        embedding_dim=work.hidden_size,
    )
    model = Bert4Rec(
        TensorSchema([item]),
        block_count=work.num_layers,
        head_count=work.num_heads,
        hidden_size=work.hidden_size,
        max_seq_len=work.max_length,
        dropout_rate=work.dropout,
        enable_embedding_tying=True,
        loss_type=loss,
    )

    def prepare(batch: Batch):
        # Items from 0; a mask says what is padding.
        items = batch.pad(batch.histories() - 1, 0, length=batch.max_length, left=True)
        real = batch.pad(batch.values, 0, length=batch.max_length, left=True) != 0
        visible = batch.pad(batch.labels, IGNORED, length=batch.max_length, left=True) == IGNORED
        inputs = {
            "inputs": {"item_id": items},
            "positive_labels": items,
            "pad_mask": real,
            "token_mask": visible,
        }
        return lambda: model._compute_loss(inputs)  # training_step would also log to a trainer

    return TrainingStep(model, prepare, f"replay-rec {version('replay-rec')}")
