"""RecBole's BERT4Rec with its cross-entropy loss: post-norm as ours, fixed length, right padding.

Each sequence has room for int(mask_ratio x length) hidden items, whose logits are computed whether
they are there or not; what does not fit is dropped from the front, as its own masking does. One at
the first position counts as absent: place 0 marks empty room. Only the model is built, not
RecBole's Config: that one needs numpy's removed aliases, and its checkpoints need
weights_only=False.
"""

from __future__ import annotations

from importlib.metadata import version
from types import SimpleNamespace

import torch
from recbole.model.sequential_recommender.bert4rec import BERT4Rec

from ..batch import IGNORED, Batch
from .training_step import TrainingStep


def build(work) -> TrainingStep:
    config = {
        "n_layers": work.num_layers,
        "n_heads": work.num_heads,
        "hidden_size": work.hidden_size,
        "inner_size": 4 * work.hidden_size,
        "hidden_dropout_prob": work.dropout,
        "attn_dropout_prob": work.dropout,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "initializer_range": 0.02,
        "mask_ratio": work.mask_prob,
        "loss_type": "CE",
        "MASK_ITEM_SEQ": "masked",
        "POS_ITEMS": "targets",
        "NEG_ITEMS": "negatives",
        "MASK_INDEX": "places",
        "USER_ID_FIELD": "user_id",
        "ITEM_ID_FIELD": "item_id",
        "LIST_SUFFIX": "_list",
        "ITEM_LIST_LENGTH_FIELD": "length",
        "NEG_PREFIX": "neg_",
        "MAX_ITEM_LIST_LENGTH": work.max_length,
        "device": str(torch.get_default_device()),
    }
    model = BERT4Rec(config, SimpleNamespace(num=lambda field: work.num_items + 1))

    def prepare(batch: Batch):
        room = int(work.mask_prob * batch.max_length)
        masked = batch.pad(batch.values, 0, length=batch.max_length)
        labels = batch.pad(batch.labels, IGNORED, length=batch.max_length)
        places, targets = torch.zeros(2, len(batch), room, dtype=torch.int64)
        for i, row in enumerate(labels):
            hidden = (row != IGNORED).nonzero().squeeze(1)[-room:]
            places[i, : len(hidden)], targets[i, : len(hidden)] = hidden, row[hidden]
        interaction = {"masked": masked, "targets": targets, "negatives": targets, "places": places}
        return lambda: model.calculate_loss(interaction)

    return TrainingStep(model, prepare, f"recbole {version('recbole')}")
