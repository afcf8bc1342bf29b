"""From RePlay's Bert4Rec: a checkpoint of Lightning's, which has no raw item ids.

Its tokens are the items from 0 on; [MASK] is a row apart, padding is masked. Sequences are padded
on the left, so its absolute positions count from the end. There is no norm of the embeddings or the
output and no projection head; items have a bias.
"""

from __future__ import annotations

import torch

from ..errors import InputError
from .converted import Converted, Source, of_layers, pre_norm_config, with_weights

PREFIX = "_model."
MASK = f"{PREFIX}item_embedder.mask_embedding.weight"
POSITIONS = f"{PREFIX}item_embedder.position.pe.weight"
TABLES = f"{PREFIX}item_embedder.cat_embeddings."
UNTIED, TIED_BIAS = f"{PREFIX}_head.linear", f"{PREFIX}_head.out_bias"
LAYERS = f"{PREFIX}transformer_blocks"
LAYER = {
    "qkv.weight": "attention.in_proj_weight",
    "qkv.bias": "attention.in_proj_bias",
    "attention_output": "attention.out_proj",
    "attention_norm": "attention_norm",
    "ffn_norm": "pff_norm",
    "ffn_in": "pff.w_1",
    "ffn_out": "pff.w_2",
}


def matches(source: Source) -> bool:
    return MASK in source.state("state_dict")


def convert(source: Source) -> Converted:
    """Raises InputError for a model that has no BERT4Rec."""
    weights, theirs = source.state("state_dict"), source.content["hyper_parameters"]
    tables = [name for name in weights if name.startswith(TABLES)]
    if len(tables) != 1:
        raise InputError(f"its items have {len(tables)} tables, and BERT4Rec has one")
    if POSITIONS not in weights:
        raise InputError("it has no positions, and BERT4Rec's are learned")
    if (passes := theirs["pass_per_transformer_block_count"]) != 1:
        raise InputError(f"it passes {passes} times through each layer, BERT4Rec once")
    table, tied = weights[tables[0]], f"{UNTIED}.weight" not in weights
    layers = of_layers(weights, LAYERS, LAYER)
    dropout = theirs["dropout_rate"]
    config = pre_norm_config(
        dropout,
        num_items=len(table),
        max_length=len(weights[POSITIONS]),
        hidden_size=table.shape[1],
        num_layers=theirs["block_count"],
        num_heads=theirs["head_count"],
        intermediate_size=len(layers["layers.0.ffn_in.weight"]),
        tie_embeddings=tied,
        layer_norm_eps=1e-5,
    )
    ours = layers | {
        "item_embedding.weight": torch.cat((torch.zeros_like(table[:1]), table, weights[MASK])),
        "position_embedding.weight": weights[POSITIONS],
        "output_bias": weights[TIED_BIAS if tied else f"{UNTIED}.bias"],
    }
    if not tied:
        ours["output_embedding.weight"] = weights[f"{UNTIED}.weight"]
    loss = theirs["loss_type"]
    left_out = [] if loss.startswith("CE") else [f"its loss, {loss}"]
    return Converted(with_weights(config, ours), None, left_out)
