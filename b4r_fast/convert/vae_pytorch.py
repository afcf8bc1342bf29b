"""From BERT4Rec-VAE-Pytorch: a checkpoint below models/ of an experiment, whose config.json says
the number of heads. Raw item ids are in dataset.pkl of the preprocessed data, under smap.

Its norm is (x - m) / (s + eps), with s the unbiased deviation: ours with a smaller weight. Its
output is a linear layer of its own, with a class for padding, which no item is.
"""

from __future__ import annotations

import json
import math

from torch import Tensor

from ..errors import InputError
from .converted import Converted, Source, of_layers, pre_norm_config, with_weights

STATE = "model_state_dict"
TOKENS, POSITIONS = "bert.embedding.token.weight", "bert.embedding.position.pe.weight"
LAYERS = "bert.transformer_blocks"
LAYER: dict[str, str | tuple[str, ...]] = {
    "qkv": tuple(f"attention.linear_layers.{i}" for i in range(3)),
    "attention_output": "attention.output_linear",
    "ffn_in": "feed_forward.w_1",
    "ffn_out": "feed_forward.w_2",
    "attention_norm.weight": "input_sublayer.norm.a_2",
    "attention_norm.bias": "input_sublayer.norm.b_2",
    "ffn_norm.weight": "output_sublayer.norm.a_2",
    "ffn_norm.bias": "output_sublayer.norm.b_2",
}
OF_MANY_GPUS = "module."


def weights_of(source: Source) -> dict[str, Tensor]:
    return {name.removeprefix(OF_MANY_GPUS): value for name, value in source.state(STATE).items()}


def matches(source: Source) -> bool:
    return {TOKENS, POSITIONS} <= weights_of(source).keys()


def convert(source: Source) -> Converted:
    weights = weights_of(source)
    table, positions = weights[TOKENS], weights[POSITIONS]
    d = table.shape[1]
    layers = of_layers(weights, LAYERS, LAYER)
    for name in layers:
        if name.endswith("norm.weight"):
            layers[name] = layers[name] * math.sqrt((d - 1) / d)
    settings = _settings(source)
    dropout = settings["bert_dropout"]
    config = pre_norm_config(
        dropout,
        num_items=len(table) - 2,
        max_length=len(positions),
        hidden_size=d,
        num_layers=settings["bert_num_blocks"],
        num_heads=settings["bert_num_heads"],
        activation="gelu_tanh",
        tie_embeddings=False,
    )
    model = with_weights(
        config,
        layers
        | {
            "item_embedding.weight": table,
            "position_embedding.weight": positions,
            "output_embedding.weight": weights["out.weight"][1:],
            "output_bias": weights["out.bias"][1:],
        },
    )
    return Converted(model, None, ["the class of padding in its softmax"])


def _settings(source: Source) -> dict:
    file = source.path.absolute().parent.parent / "config.json"
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise InputError(
            f"{source.path}: the number of heads is in the config.json of its experiment, one"
            f" folder up, and {file} is not readable ({error})"
        ) from None
