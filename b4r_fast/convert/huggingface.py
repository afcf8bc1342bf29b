"""From and to Hugging Face's BertForMaskedLM: a model, or a folder that save_pretrained wrote, for
which transformers need not be installed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ..errors import InputError
from ..extras import require
from ..model import BERT4Rec, BERT4RecConfig
from .converted import Converted, Source, of_layers, renamed, with_weights
from .inert import read_checkpoint

if TYPE_CHECKING:
    from transformers import BertForMaskedLM

ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh"}
CONFIG, VOCABULARY, NAMED_TOKENS = "config.json", "vocab.txt", "special_tokens_map.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# What config.json leaves out where it is BertConfig's default.
DEFAULTS = {
    "pad_token_id": 0,
    "is_decoder": False,
    "tie_word_embeddings": True,
    "position_embedding_type": "absolute",
    "layer_norm_eps": 1e-12,
    "initializer_range": 0.02,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
}
EMBEDDINGS, HEAD, LAYERS = "bert.embeddings", "cls.predictions", "bert.encoder.layer"
MODULES = {
    "embedding_norm": f"{EMBEDDINGS}.LayerNorm",
    "head.dense": f"{HEAD}.transform.dense",
    "head.norm": f"{HEAD}.transform.LayerNorm",
}
LAYER: dict[str, str | tuple[str, ...]] = {
    "qkv": tuple(f"attention.self.{name}" for name in ("query", "key", "value")),
    "attention_output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "ffn_in": "intermediate.dense",
    "ffn_out": "output.dense",
    "ffn_norm": "output.LayerNorm",
}
NEVER = -1e4  # the logit of padding and [MASK] in a softmax over them too


@dataclass(frozen=True)
class Saved:
    """A folder of save_pretrained. tokens: of its vocabulary, where there is one."""

    config: Any
    weights: Mapping[str, Tensor]
    tokens: list[str] | None
    special: frozenset[str]


def from_huggingface(model: BertForMaskedLM, *, mask_id: int | None = None) -> BERT4Rec:
    """A BERT4Rec with the weights of a transformers BertForMaskedLM over item ids.

    The model's vocabulary must be padding, [MASK], and items: item i is the i-th of the tokens that
    are neither. mask_id: the token of [MASK]; None: the last. All tokens are taken to have token
    type 0, whose embedding is added to the position table. The softmax of a BERT4Rec is over the
    items alone, so the output weights and biases of padding and [MASK] are left out. Raises
    ValueError for a model that has no BERT4Rec.
    """
    config = model.config
    check(config)
    tokens = _items_between(config, mask_id)
    return converted(config, model.state_dict(), tokens).train(model.training)


def read(folder: Path) -> Saved | None:
    """None for a folder that has no BertForMaskedLM. Raises InputError where it is not whole."""
    try:
        content = json.loads((folder / CONFIG).read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / CONFIG}: not readable as JSON: {error}") from None
    if not isinstance(content, dict) or content.get("model_type") != "bert":
        return None
    tokens, special = None, set(SPECIAL)
    if (folder / VOCABULARY).is_file():
        tokens = (folder / VOCABULARY).read_text("utf-8").splitlines()
        if (folder / NAMED_TOKENS).is_file():
            named = json.loads((folder / NAMED_TOKENS).read_text()).values()
            special |= {token["content"] if isinstance(token, dict) else token for token in named}
    config = SimpleNamespace(**DEFAULTS | content)
    return Saved(config, _weights_in(folder), tokens, frozenset(special))


def matches(source: Source) -> bool:
    return isinstance(source.content, Saved)


def convert(source: Source) -> Converted:
    saved: Saved = source.content
    config, mask_id, tokens = saved.config, source.mask_id, saved.tokens
    check(config)
    if tokens is None:
        order, raw = _items_between(config, mask_id), None
    else:
        if mask_id is None and "[MASK]" not in tokens:
            raise InputError(
                f"{source.path / VOCABULARY}: has no [MASK]; say with `mask_id` which token it is"
            )
        mask_id = tokens.index("[MASK]") if mask_id is None else mask_id
        others = {config.pad_token_id, mask_id}
        order = [config.pad_token_id]
        order += [i for i, t in enumerate(tokens) if t not in saved.special and i not in others]
        order, raw = [*order, mask_id], [tokens[i] for i in order[1:]]
    notes = ["the output weights of padding, [MASK] and other tokens that are no items"]
    notes.append(
        "position_ids of one's own: positions count from the first item of a sequence; for a model"
        " trained on batches padded on the left without position_ids, set positions_from to"
        ' "end" in config.json'
    )
    return Converted(converted(config, saved.weights, order), raw, notes)


def to_huggingface(model: BERT4Rec) -> BertForMaskedLM:
    """A transformers BertForMaskedLM with the weights of a BERT4Rec of the paper's form, as
    from_huggingface takes it. Padding and [MASK] never win its softmax. Raises ValueError for a
    variant that BertForMaskedLM has not.
    """
    transformers = require("transformers", "b4r-fast[convert]")
    config = model.config
    paper = {"norm": "post", "final_norm": False, "embedding_norm": True, "projection_head": True}
    for name, value in (paper | {"positions_from": "start"}).items():
        if getattr(config, name) != value:
            raise ValueError(
                f"a BertForMaskedLM has {name}={value!r}, and this model {getattr(config, name)!r}"
            )
    theirs = transformers.BertForMaskedLM(
        transformers.BertConfig(
            vocab_size=config.num_items + 2,
            max_position_embeddings=config.max_length,
            hidden_size=config.hidden_size,
            num_hidden_layers=config.num_layers,
            num_attention_heads=config.num_heads,
            intermediate_size=config.intermediate_size,
            hidden_dropout_prob=config.hidden_dropout,
            attention_probs_dropout_prob=config.attention_dropout,
            hidden_act="gelu" if config.activation == "gelu" else "gelu_pytorch_tanh",
            layer_norm_eps=config.layer_norm_eps,
            initializer_range=config.initializer_range,
            tie_word_embeddings=config.tie_embeddings,
        )
    )
    ours = model.state_dict()
    weights = {f"{EMBEDDINGS}.word_embeddings.weight": ours["item_embedding.weight"]}
    weights[f"{EMBEDDINGS}.position_embeddings.weight"] = ours["position_embedding.weight"]
    token_types = f"{EMBEDDINGS}.token_type_embeddings.weight"
    weights[token_types] = torch.zeros_like(theirs.state_dict()[token_types])
    for module, theirs_of_it in MODULES.items():
        weights |= renamed(ours, theirs_of_it, [module])
    for i in range(config.num_layers):
        for here, there in LAYER.items():
            for kind in ("weight", "bias"):
                value = ours[f"layers.{i}.{here}.{kind}"]
                names = (there,) if isinstance(there, str) else there
                for name, part in zip(names, value.chunk(len(names))):
                    weights[f"{LAYERS}.{i}.{name}.{kind}"] = part
    bias = torch.zeros(config.num_items) if model.output_bias is None else ours["output_bias"]
    weights[f"{HEAD}.decoder.bias"] = torch.nn.functional.pad(bias, (1, 1), value=NEVER)
    weights[f"{HEAD}.bias"] = weights[f"{HEAD}.decoder.bias"]
    weights[f"{HEAD}.decoder.weight"] = (
        ours["item_embedding.weight"]
        if config.tie_embeddings
        else torch.nn.functional.pad(ours["output_embedding.weight"], (0, 0, 1, 1))
    )
    theirs.load_state_dict(weights)
    return theirs.train(model.training)


def check(config: Any) -> None:
    if config.vocab_size < 3:
        raise ValueError(
            f"vocab_size must be at least 3 (padding, one item, [MASK]), got {config.vocab_size}"
        )
    if config.hidden_act not in ACTIVATIONS:
        raise ValueError(
            f"hidden_act must be one of {', '.join(ACTIVATIONS)}, got {config.hidden_act!r}"
        )
    if config.is_decoder:
        raise ValueError("a decoder masks the future; BERT4Rec reads both directions")
    kind = getattr(config, "position_embedding_type", "absolute")
    if kind != "absolute":
        raise ValueError(f"position_embedding_type must be 'absolute', got {kind!r}")


def _items_between(config: Any, mask_id: int | None) -> list[int]:
    """Padding, the items, [MASK], of a model without a vocabulary beside it."""
    if config.pad_token_id is None:
        raise ValueError("pad_token_id must be the token of padding, got None")
    others = ("bos_token_id", "eos_token_id", "sep_token_id", "cls_token_id")
    if mask_id is None and (named := [n for n in others if getattr(config, n, None) is not None]):
        raise ValueError(
            f"its vocabulary has more than padding, items and [MASK] ({named[0]} is"
            f" {getattr(config, named[0])}); say with mask_id which token [MASK] is"
        )
    mask_id = config.vocab_size - 1 if mask_id is None else mask_id
    if not 0 <= mask_id < config.vocab_size or mask_id == config.pad_token_id:
        raise ValueError(
            f"mask_id must be a token below {config.vocab_size} and not padding, got {mask_id}"
        )
    special = (config.pad_token_id, mask_id)
    items = [token for token in range(config.vocab_size) if token not in special]
    return [special[0], *items, special[1]]


def converted(config: Any, theirs: Mapping[str, Tensor], order: list[int]) -> BERT4Rec:
    """order: the tokens of padding, the items and [MASK]."""
    weights = of_layers(theirs, LAYERS, LAYER)
    for here, there in MODULES.items():
        weights |= renamed(theirs, here, [there])
    token_type = theirs[f"{EMBEDDINGS}.token_type_embeddings.weight"][0]
    positions = theirs[f"{EMBEDDINGS}.position_embeddings.weight"]
    weights["position_embedding.weight"] = positions + token_type
    rows = torch.tensor(order)
    weights["item_embedding.weight"] = theirs[f"{EMBEDDINGS}.word_embeddings.weight"][rows]
    bias = theirs.get(f"{HEAD}.decoder.bias", theirs.get(f"{HEAD}.bias"))
    if bias is None:
        raise KeyError(f"{HEAD}.bias")
    weights["output_bias"] = bias[rows[1:-1]]
    if not config.tie_word_embeddings:
        weights["output_embedding.weight"] = theirs[f"{HEAD}.decoder.weight"][rows[1:-1]]
    return with_weights(
        BERT4RecConfig(
            num_items=len(order) - 2,
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
        ),
        weights,
    )


def _weights_in(folder: Path) -> Mapping[str, Tensor]:
    for name in WEIGHTS:
        if (folder / name).is_file():
            if name.endswith(".bin"):
                return read_checkpoint(folder / name)
            try:
                return safetensors.torch.load_file(folder / name)
            except (safetensors.SafetensorError, OSError) as error:
                raise InputError(f"{folder / name}: not readable as safetensors: {error}") from None
    raise InputError(f"{folder}: has {CONFIG}, and neither {' nor '.join(WEIGHTS)}")
