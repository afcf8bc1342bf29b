"""The model: its configuration, and BERT4Rec composed from the ops."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .config import BERT4RecConfig

if TYPE_CHECKING:
    from .bert4rec import BERT4Rec, BERT4RecOutput, Recommendations
    from .fused import Affine, Normalised
    from .layer import LayerDropout, LayerWeights, SelectedTokens, transformer_layer

__all__ = [
    "Affine",
    "BERT4Rec",
    "BERT4RecConfig",
    "BERT4RecOutput",
    "LayerDropout",
    "LayerWeights",
    "Normalised",
    "Recommendations",
    "SelectedTokens",
    "transformer_layer",
]


# Which module has what takes torch, and so a second to import, when it is asked for.
HOMES = {
    "bert4rec": ("BERT4Rec", "BERT4RecOutput", "Recommendations"),
    "fused": ("Affine", "Normalised"),
    "layer": ("LayerDropout", "LayerWeights", "SelectedTokens", "transformer_layer"),
}


def __getattr__(name: str) -> Any:
    for home, names in HOMES.items():
        if name in names:
            return getattr(import_module(f".{home}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
