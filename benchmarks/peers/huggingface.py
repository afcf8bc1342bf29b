"""Hugging Face's BertForMaskedLM with SDPA, on a batch padded to its longest sequence. It computes
the logits of every token.
"""

from __future__ import annotations

import transformers
from transformers import BertConfig, BertForMaskedLM

from ..batch import IGNORED, Batch
from .training_step import TrainingStep


def model_of(work) -> BertForMaskedLM:
    config = BertConfig(
        vocab_size=work.num_items + 2,
        max_position_embeddings=work.max_length,
        hidden_size=work.hidden_size,
        intermediate_size=4 * work.hidden_size,
        num_hidden_layers=work.num_layers,
        num_attention_heads=work.num_heads,
        hidden_dropout_prob=work.dropout,
        attention_probs_dropout_prob=work.dropout,
        type_vocab_size=1,
        pad_token_id=0,
    )
    return BertForMaskedLM._from_config(config, attn_implementation="sdpa")


def build(work) -> TrainingStep:
    model = model_of(work)

    def prepare(batch: Batch):
        ids, labels = batch.pad(batch.values, 0), batch.pad(batch.labels, IGNORED)
        real = (ids != 0).long()
        return lambda: model(input_ids=ids, attention_mask=real, labels=labels).loss

    return TrainingStep(model, prepare, f"transformers {transformers.__version__}")
