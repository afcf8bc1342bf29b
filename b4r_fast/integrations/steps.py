"""What the training steps of all packages have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .. import ops
from ..model.fused import Affine, only_read
from ..model.layer import LayerDropout, LayerWeights, SelectedTokens, transformer_layer
from ..model.seeds import StepSeeds
from ..ops.checks import check_seed
from ..packed import IGNORED_LABEL, PackedSequences
from .patch import need


@dataclass(frozen=True)
class Step:
    """A padded batch without its padding.

    batch: the tokens. places: (tokens,) int64, where each stands in its padded row. selected: the
    tokens with a label. targets: (rows,) int64, their labels. dropout: of each layer. seeds: None
    where nothing is dropped, which then draws nothing either.
    """

    batch: PackedSequences
    places: Tensor
    selected: SelectedTokens
    targets: Tensor
    dropout: Sequence[LayerDropout]
    seeds: StepSeeds | None

    @classmethod
    def of(
        cls,
        ids: Tensor,
        real: Tensor,
        labels: Tensor,
        dropout: Sequence[LayerDropout],
        training: bool,
    ) -> Step:
        """ids: (batch, length) int64. real: (batch, length) bool, what is no padding. labels: of
        the same shape, IGNORED_LABEL where there is none.
        """
        need(ids.dim() == 2 and ids.shape == real.shape == labels.shape, "the batch is not padded")
        need(not torch.is_autocast_enabled(ids.device.type), "autocast is on")
        tokens = real.flatten().nonzero().squeeze(1)
        batch = PackedSequences.from_lengths(ids.flatten()[tokens], real.sum(1))
        of_tokens = labels.flatten()[tokens]
        rows = int((of_tokens != IGNORED_LABEL).sum())
        need(rows > 0, "no token has a label")
        need(rows == int((labels != IGNORED_LABEL).sum()), "labels are on padding")
        # Labels may begin at 0, and those of the op are ids: 1 more than the row of a table.
        shifted = torch.where(of_tokens == IGNORED_LABEL, IGNORED_LABEL, of_tokens + 1)
        index, targets, cu_seqlens = ops.select_labelled(shifted, batch.cu_seqlens, rows)
        drops = training and any(map(any, dropout))
        seeds = StepSeeds.of(check_seed(None, ids.device), len(dropout)) if drops else None
        selected = SelectedTokens(index, cu_seqlens)
        return cls(batch, tokens % ids.shape[1], selected, targets, dropout, seeds)

    def through(
        self,
        x: Tensor,
        layers: Sequence[LayerWeights],
        *,
        num_heads: int,
        norm: str,
        approximate: str = "none",
    ) -> Tensor:
        """(rows, hidden) of the tokens with a label, from x (tokens, hidden)."""
        for i, layer in enumerate(layers):
            x = transformer_layer(
                x,
                self.batch,
                layer,
                num_heads=num_heads,
                norm=norm,
                approximate=approximate,
                dropout=self.dropout[i],
                selected=self.selected if i == len(layers) - 1 else None,
                seeds=None if self.seeds is None else self.seeds.layers[i],
            )
        return x


def plain(*modules: nn.Module) -> None:
    """Raises CannotServe for a module that is more than its weights: a hook, an adapter, another
    class.
    """
    need(only_read(*modules), "a part of its network was replaced, or has a hook")


def joined(*parts: nn.Linear) -> Affine:
    """Linear layers of one input, such as those of queries, keys and values, as one."""
    plain(*parts)
    return Affine(
        torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts])
    )


def projections(attention: nn.MultiheadAttention) -> tuple[Affine, Affine]:
    """What goes in, of queries, keys and values, and what goes out."""
    need(
        type(attention) is nn.MultiheadAttention and attention.in_proj_bias is not None,
        "its attention was replaced",
    )
    out = attention.out_proj
    return Affine(attention.in_proj_weight, attention.in_proj_bias), Affine(out.weight, out.bias)


def gelu(activation: nn.Module) -> None:
    """Raises CannotServe for another activation."""
    need(
        type(activation) is nn.GELU and activation.approximate == "none",
        f"its activation is {activation}",
    )
