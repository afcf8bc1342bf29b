"""What comes of other people's checkpoints, and what they are told apart and read by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ..model import BERT4Rec, BERT4RecConfig


@dataclass(frozen=True)
class Source:
    """A checkpoint as it lies on the disk.

    path: the file or folder. content: what read_checkpoint or another reader made of it. mask_id:
    [MASK] among the checkpoint's own tokens, where the user says it.
    """

    path: Path
    content: Any
    mask_id: int | None = None

    def state(self, name: str) -> dict[str, Tensor]:
        """The weights under this key; none where there is no such key."""
        found = self.content.get(name) if isinstance(self.content, dict) else None
        return found if isinstance(found, dict) else {}


@dataclass(frozen=True)
class Converted:
    """model: with the weights of the checkpoint, in evaluation mode. item_ids: the raw id of each
    item from 1 on, where they are known. left_out: what the model cannot keep, a line each. source:
    the system that wrote the checkpoint.
    """

    model: BERT4Rec
    item_ids: list[str] | None = None
    left_out: list[str] = field(default_factory=list)
    source: str = ""


class Format(Protocol):
    """A module for the checkpoints of one system."""

    def matches(self, source: Source) -> bool: ...

    def convert(self, source: Source) -> Converted:
        """Raises ValueError for a model that has no BERT4Rec."""


def pre_norm_config(dropout: float, **others: Any) -> BERT4RecConfig:
    """Of RecTools, RePlay and BERT4Rec-VAE-Pytorch: one rate of dropout everywhere, no norm of the
    embeddings or the output, no projection head, and positions from the end.
    """
    return BERT4RecConfig(
        hidden_dropout=dropout,
        attention_dropout=dropout,
        activation_dropout=dropout,
        output_dropout=dropout,
        norm="pre",
        final_norm=False,
        embedding_norm=False,
        projection_head=False,
        positions_from="end",
        **others,
    )


def with_weights(config: BERT4RecConfig, weights: Mapping[str, Tensor]) -> BERT4Rec:
    """In evaluation mode and fp32."""
    with torch.device("meta"):
        model = BERT4Rec(config)
    own = {name: value.detach().float().clone() for name, value in weights.items()}
    model.load_state_dict(own, assign=True)
    return model.requires_grad_().eval()


def renamed(theirs: Mapping[str, Tensor], ours: str, parts: Sequence[str]) -> dict[str, Tensor]:
    """A tensor, or all of a module, under our name; of several parts one below the other."""
    kinds = [kind for kind in ("", ".weight", ".bias") if parts[0] + kind in theirs]
    if not kinds:
        raise KeyError(parts[0])
    return {ours + kind: torch.cat([theirs[part + kind] for part in parts]) for kind in kinds}


def of_layers(
    theirs: Mapping[str, Tensor], layers: str, names: Mapping[str, str | tuple[str, ...]]
) -> dict[str, Tensor]:
    """The weights of all layers under our names. layers: what stands before a layer's number in
    theirs. names: theirs by ours, as in renamed.
    """
    weights: dict[str, Tensor] = {}
    number = 0
    while any(name.startswith(f"{layers}.{number}.") for name in theirs):
        for ours, their in names.items():
            parts = (their,) if isinstance(their, str) else their
            there = [f"{layers}.{number}.{part}" for part in parts]
            weights |= renamed(theirs, f"layers.{number}.{ours}", there)
        number += 1
    return weights
