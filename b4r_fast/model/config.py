"""What a BERT4Rec is: sizes, rates and variants, stored as config.json beside the weights.

Read without torch, as the command line's options are.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ..errors import InputError

CONFIG = "config.json"
MOST_LAYERS = 1024  # a damaged config.json builds no model for hours
CHOICES = {
    "activation": ("gelu", "gelu_tanh"),
    "norm": ("post", "pre"),
    "positions_from": ("start", "end"),
    "loss": ("full", "sampled"),
    "sampler": ("log_uniform", "uniform", "popularity"),
}
DROPOUTS = ("hidden_dropout", "attention_dropout", "activation_dropout", "output_dropout")
REAL = (int, float)
KINDS: dict[str, Any] = {"float": REAL, "bool": bool}  # of fields that JSON may have filled


@dataclass(frozen=True, kw_only=True)
class BERT4RecConfig:
    """The configuration of a BERT4Rec model; the defaults are the paper's (Sun et al. 2019,
    sections 3 and 4.3).

    num_items: items have ids 1 to num_items, 0 is padding and num_items + 1 is [MASK]. max_length:
    tokens of a sequence, [MASK] included. intermediate_size: of the feed-forward network, 4
    hidden_size when None. loss "sampled": num_negatives shared by the batch, drawn by sampler,
    logits corrected for how often each is drawn when logq_correction is true.

    sparse_gradients, with loss "sampled": the item tables get their gradients as the rows that a
    step names, so that a step costs the same for any number of items; train with
    b4r_fast.RowwiseAdamW.

    Variants, for models trained elsewhere: activation_dropout between the two products of the
    feed-forward network, and output_dropout behind each layer; norm "pre" normalises what goes into
    a sublayer, not what comes out of its residual sum; final_norm adds a LayerNorm after the last
    layer; embedding_norm and projection_head can be left out; an output table of its own with
    tie_embeddings=False; output_bias=False; positions_from="end" gives the newest token of a
    sequence position max_length - 1. Raises ValueError for sizes, rates or choices that make no
    model.
    """

    num_items: int
    max_length: int = 200
    hidden_size: int = 64
    num_layers: int = 2
    num_heads: int = 2
    intermediate_size: int = None  # type: ignore[assignment]  # becomes 4 hidden_size
    hidden_dropout: float = 0.2
    attention_dropout: float = 0.2
    activation_dropout: float = 0.0
    output_dropout: float = 0.0
    activation: str = "gelu"
    layer_norm_eps: float = 1e-12
    initializer_range: float = 0.02
    loss: str = "full"
    num_negatives: int = 1024
    sampler: str = "log_uniform"
    logq_correction: bool = True
    norm: str = "post"
    final_norm: bool = False
    embedding_norm: bool = True
    projection_head: bool = True
    tie_embeddings: bool = True
    output_bias: bool = True
    positions_from: str = "start"
    sparse_gradients: bool = False

    def __post_init__(self) -> None:
        if self.intermediate_size is None:
            object.__setattr__(self, "intermediate_size", 4 * self.hidden_size)
        for name in (
            "num_items",
            "max_length",
            "hidden_size",
            "num_layers",
            "num_heads",
            "intermediate_size",
            "num_negatives",
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")
        if self.num_layers > MOST_LAYERS:
            raise ValueError(f"num_layers must be at most {MOST_LAYERS}, got {self.num_layers}")
        for field in fields(self):
            value, kind = getattr(self, field.name), KINDS.get(str(field.type), object)
            if not isinstance(value, kind) or (kind == REAL and isinstance(value, bool)):
                raise ValueError(f"{field.name} must be a {field.type}, got {value!r}")
        if self.hidden_size % self.num_heads:
            raise ValueError(
                f"hidden_size must be a multiple of num_heads, got {self.hidden_size} and"
                f" {self.num_heads}"
            )
        for name in DROPOUTS:
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        if not self.layer_norm_eps > 0.0:
            raise ValueError(f"layer_norm_eps must be positive, got {self.layer_norm_eps}")
        if not 0.0 <= self.initializer_range < math.inf:
            raise ValueError(
                f"initializer_range must be a number of at least 0, got {self.initializer_range}"
            )
        if self.sparse_gradients and self.loss != "sampled":
            raise ValueError(
                f'sparse_gradients needs loss="sampled": loss={self.loss!r} has a gradient for'
                " every item"
            )
        for name, choices in CHOICES.items():
            if (value := getattr(self, name)) not in choices:
                known = ", ".join(map(repr, choices))
                raise ValueError(f"{name} must be one of {known}, got {value!r}")

    @property
    def mask_id(self) -> int:
        """The id of [MASK]."""
        return self.num_items + 1

    @property
    def approximate(self) -> str:
        """Of GELU, as the ops name it."""
        return "tanh" if self.activation == "gelu_tanh" else "none"

    def to_json(self) -> str:
        return json.dumps({"model_type": "bert4rec", **asdict(self)}, indent=2) + "\n"

    @classmethod
    def from_json_file(cls, path: str | Path) -> BERT4RecConfig:
        """Read a config.json that to_json wrote. Raises InputError where it is not one."""
        try:
            content = json.loads(Path(path).read_text())
        except FileNotFoundError:
            raise InputError(
                f"{path}: no such file; a saved model has config.json and model.safetensors"
            ) from None
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{path}: not readable as JSON: {error}") from None
        if not isinstance(content, dict) or content.pop("model_type", None) != "bert4rec":
            raise InputError(
                f'{path}: not the configuration of a BERT4Rec of this library (no "model_type":'
                ' "bert4rec")'
            )
        if unknown := content.keys() - {field.name for field in fields(cls)}:
            raise InputError(
                f"{path}: unknown field {sorted(unknown)[0]!r}; was it written by a newer version?"
            )
        try:
            return cls(**content)
        except (TypeError, ValueError) as error:
            raise InputError(f"{path}: {error}") from None
