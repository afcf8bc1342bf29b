"""From Hugging Face's BertForMaskedLM."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..model import BERT4Rec, BERT4RecConfig

if TYPE_CHECKING:
    from transformers import BertForMaskedLM

ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh"}


def from_huggingface(model: BertForMaskedLM) -> BERT4Rec:
    """A BERT4Rec with the weights of a transformers BertForMaskedLM over item ids.

    The model's vocabulary must be 0 for padding, then the items, then [MASK] as the last id. All
    tokens are taken to have token type 0, whose embedding is added to the position table. The
    softmax of a BERT4Rec is over the items alone, so the output weights and biases of padding and
    [MASK] are left out. Raises ValueError for a model that has no BERT4Rec.
    """
    config = model.config
    _check(config)
    num_items = config.vocab_size - 2
    ours = BERT4Rec(
        BERT4RecConfig(
            num_items=num_items,
            max_length=config.max_position_embeddings,
            hidden_size=config.hidden_size,
            num_layers=config.num_hidden_layers,
            num_heads=config.num_attention_heads,
            intermediate_size=config.intermediate_size,
            hidden_dropout=config.hidden_dropout_prob,
            attention_dropout=config.attention_probs_dropout_prob,
            activation=ACTIVATIONS[config.hidden_act],
            layer_norm_eps=config.layer_norm_eps,
            initializer_range=config.initializer_range,
            tie_embeddings=config.tie_word_embeddings,
        )
    )
    ours.load_state_dict(
        _weights(
            model.state_dict(), config.num_hidden_layers, num_items, config.tie_word_embeddings
        )
    )
    return ours.train(model.training)


def _check(config) -> None:
    if config.vocab_size < 3:
        raise ValueError(
            f"vocab_size must be at least 3 (padding, one item, [MASK]), got {config.vocab_size}"
        )
    if config.pad_token_id != 0:
        raise ValueError(f"pad_token_id must be 0, got {config.pad_token_id}")
    if config.hidden_act not in ACTIVATIONS:
        raise ValueError(
            f"hidden_act must be one of {', '.join(ACTIVATIONS)}, got {config.hidden_act!r}"
        )
    if config.is_decoder:
        raise ValueError("a decoder masks the future; BERT4Rec reads both directions")


def _weights(
    theirs: dict[str, Tensor], num_layers: int, num_items: int, tied: bool
) -> dict[str, Tensor]:
    names = {
        "item_embedding.weight": "bert.embeddings.word_embeddings.weight",
        "embedding_norm": "bert.embeddings.LayerNorm",
        "head.dense": "cls.predictions.transform.dense",
        "head.norm": "cls.predictions.transform.LayerNorm",
    }
    for i in range(num_layers):
        here, there = f"layers.{i}", f"bert.encoder.layer.{i}"
        names |= {
            f"{here}.attention_output": f"{there}.attention.output.dense",
            f"{here}.attention_norm": f"{there}.attention.output.LayerNorm",
            f"{here}.ffn_in": f"{there}.intermediate.dense",
            f"{here}.ffn_out": f"{there}.output.dense",
            f"{here}.ffn_norm": f"{there}.output.LayerNorm",
        }
    ours = {}
    for here, there in names.items():
        for suffix in ("",) if here.endswith(".weight") else (".weight", ".bias"):
            ours[here + suffix] = theirs[there + suffix]
    for i in range(num_layers):
        for kind in ("weight", "bias"):
            parts = [
                theirs[f"bert.encoder.layer.{i}.attention.self.{name}.{kind}"]
                for name in ("query", "key", "value")
            ]
            ours[f"layers.{i}.qkv.{kind}"] = torch.cat(parts)
    embeddings = "bert.embeddings"
    token_type = theirs[f"{embeddings}.token_type_embeddings.weight"][0]
    ours["position_embedding.weight"] = (
        theirs[f"{embeddings}.position_embeddings.weight"] + token_type
    )
    ours["output_bias"] = theirs["cls.predictions.decoder.bias"][1 : num_items + 1]
    if not tied:
        ours["output_embedding.weight"] = theirs["cls.predictions.decoder.weight"][
            1 : num_items + 1
        ]
    return ours
