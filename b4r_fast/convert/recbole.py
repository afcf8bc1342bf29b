"""From RecBole's BERT4Rec. Raw item ids are in the data set that RecBole saves apart.

Its parts are those of the paper. It ranks differently all the same: full_sort_predict leaves out
the oldest item of a history, however short it is.
"""

from __future__ import annotations

from ..errors import InputError
from ..model import BERT4RecConfig
from .converted import Converted, Source, of_layers, renamed, with_weights

ITEMS, POSITIONS = "item_embedding.weight", "position_embedding.weight"
LAYERS = "trm_encoder.layer"
LAYER: dict[str, str | tuple[str, ...]] = {
    "qkv": tuple(f"multi_head_attention.{name}" for name in ("query", "key", "value")),
    "attention_output": "multi_head_attention.dense",
    "attention_norm": "multi_head_attention.LayerNorm",
    "ffn_in": "feed_forward.dense_1",
    "ffn_out": "feed_forward.dense_2",
    "ffn_norm": "feed_forward.LayerNorm",
}
MODULES = {
    "item_embedding": "item_embedding",
    "position_embedding": "position_embedding",
    "embedding_norm": "LayerNorm",
    "head.dense": "output_ffn",
    "head.norm": "output_ln",
}


def matches(source: Source) -> bool:
    return {ITEMS, "output_ffn.weight", "output_bias"} <= source.state("state_dict").keys()


def convert(source: Source) -> Converted:
    """Raises InputError for a model that has no BERT4Rec."""
    weights, theirs = source.state("state_dict"), _settings(source)
    if theirs["hidden_act"] != "gelu":
        raise InputError(f"its activation is {theirs['hidden_act']}, and BERT4Rec's is gelu")
    table = weights[ITEMS]
    config = BERT4RecConfig(
        num_items=len(table) - 2,
        max_length=len(weights[POSITIONS]),
        hidden_size=table.shape[1],
        num_layers=theirs["n_layers"],
        num_heads=theirs["n_heads"],
        intermediate_size=theirs["inner_size"],
        hidden_dropout=theirs["hidden_dropout_prob"],
        attention_dropout=theirs["attn_dropout_prob"],
        layer_norm_eps=float(theirs["layer_norm_eps"]),
        initializer_range=theirs["initializer_range"],
    )
    ours = of_layers(weights, LAYERS, LAYER)
    for here, there in MODULES.items():
        ours |= renamed(weights, here, [there])
    ours["output_bias"] = weights["output_bias"][1:]
    left_out = ["that its inference leaves out the oldest item of every history"]
    if theirs["loss_type"] != "CE":
        left_out.append(f"its loss, {theirs['loss_type']}")
    return Converted(with_weights(config, ours), None, left_out)


def _settings(source: Source) -> dict:
    """Of its Config object, which is not built."""
    found = getattr(source.content.get("config"), "state", None)
    if not isinstance(found, dict) or "final_config_dict" not in found:
        raise InputError(f"{source.path}: has no configuration of RecBole beside its weights")
    return found["final_config_dict"]
