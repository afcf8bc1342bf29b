"""From RecTools' BERT4RecModel: a checkpoint of Lightning's, in which raw item ids are too.

Its tokens are padding, [MASK], then the items. Positions count from the end. There is no norm of
the embeddings or the output, no projection head and no bias of the items.
"""

from __future__ import annotations

import torch

from ..errors import InputError
from .converted import Converted, Source, of_layers, pre_norm_config, with_weights

PREFIX = "torch_model."
ITEMS = f"{PREFIX}item_model.item_net_blocks.0.ids_emb.weight"
POSITIONS = f"{PREFIX}pos_encoding_layer.pos_emb.weight"
LAYERS = f"{PREFIX}transformer_layers.transformer_blocks"
LAYER = {
    "qkv.weight": "multi_head_attn.in_proj_weight",
    "qkv.bias": "multi_head_attn.in_proj_bias",
    "attention_output": "multi_head_attn.out_proj",
    "attention_norm": "layer_norm_1",
    "ffn_norm": "layer_norm_2",
    "ffn_in": "feed_forward.ff_linear_1",
    "ffn_out": "feed_forward.ff_linear_2",
}
EXTRA_TOKENS = 2
# What may be of another class, and what is read here.
OWN_PARTS = (
    "pos_encoding_type",
    "transformer_layers_type",
    "similarity_module_type",
    "backbone_type",
)
KNOWN_PARTS = (
    "LearnableInversePositionalEncoding",
    "PreLNTransformerLayers",
    "DistanceSimilarityModule",
    "TransformerTorchBackbone",
)


def matches(source: Source) -> bool:
    return ITEMS in source.state("state_dict")


def convert(source: Source) -> Converted:
    """Raises InputError for a model that has no BERT4Rec."""
    weights = source.state("state_dict")
    hyper = source.content["hyper_parameters"]
    theirs = hyper["model_config"]
    if theirs["use_causal_attn"]:
        raise InputError("its attention is causal; BERT4Rec reads both directions")
    if not theirs["use_key_padding_mask"]:
        raise InputError("its attention reads padding (use_key_padding_mask=False)")
    for name in OWN_PARTS:
        if theirs[name].rsplit(".", 1)[-1] not in KNOWN_PARTS:
            raise InputError(f"its {name} is {theirs[name]}, which has no counterpart here")
    if "cosine" in (theirs["similarity_module_kwargs"] or {}).values():
        raise InputError("it ranks by the cosine, and BERT4Rec by the product")
    if POSITIONS not in weights:
        raise InputError("it has no positions, and BERT4Rec's are learned")
    if others := [name for name in weights if "item_net_blocks.1" in name]:
        raise InputError(f"its items have features ({others[0]}), which BERT4Rec has not")
    table, positions = weights[ITEMS], weights[POSITIONS]
    tokens, d = table.shape
    layers = of_layers(weights, LAYERS, LAYER)
    dropout = theirs["dropout_rate"]
    config = pre_norm_config(
        dropout,
        num_items=tokens - EXTRA_TOKENS,
        max_length=len(positions),
        hidden_size=d,
        num_layers=theirs["n_blocks"],
        num_heads=theirs["n_heads"],
        intermediate_size=len(layers["layers.0.ffn_in.weight"]),
        output_bias=False,
        layer_norm_eps=1e-5,
    )
    order = torch.tensor([0, *range(EXTRA_TOKENS, tokens), 1])
    model = with_weights(
        config,
        layers
        | {"item_embedding.weight": table[order], "position_embedding.weight": positions.flip(0)},
    )
    left_out = ["the dropout of its item table"] if dropout else []
    if theirs["loss"] != "softmax":
        left_out.append(f"its loss, {theirs['loss']}")
    return Converted(
        model, [str(raw) for raw in hyper["item_external_ids"][EXTRA_TOKENS:]], left_out
    )
