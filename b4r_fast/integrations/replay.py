"""RePlay's Bert4Rec: its cross-entropy over all items, and over those of the hidden tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .. import ops
from ..model.layer import LayerDropout, LayerWeights
from ..packed import IGNORED_LABEL
from .patch import Patch, need
from .steps import Step, gelu, projections

if TYPE_CHECKING:
    from replay.models.nn.sequential import Bert4Rec


def compute_loss(
    module: Bert4Rec,
    feature_tensors: dict[str, Tensor],
    positive_labels: Tensor,
    padding_mask: Tensor,
    tokens_mask: Tensor,
) -> Tensor:
    from replay.models.nn.sequential.bert4rec.model import Bert4RecModel, TransformerBlock

    network = module._model
    need(type(network) is Bert4RecModel, "its network was replaced")
    embedder, blocks = network.item_embedder, list(network.transformer_blocks)
    need(all(type(block) is TransformerBlock for block in blocks), "a block was replaced")
    need(network.num_passes_over_block == 1, "it passes through a block more than once")
    (name, *others) = feature_tensors
    need(not others, "its items have features")
    real, shown = padding_mask.bool(), tokens_mask.bool()
    labels = positive_labels.masked_fill(~real | shown, IGNORED_LABEL)
    step = Step.of(
        feature_tensors[name], real, labels, [_dropout(block) for block in blocks], module.training
    )
    hidden = torch.where(
        shown[real][:, None],
        embedder.cat_embeddings[name](step.batch.values),
        embedder.mask_embedding.weight,
    )
    if embedder.enable_positional_embedding:
        hidden = hidden + embedder.position.pe(step.places)
    hidden = step.through(
        embedder.dropout(hidden),
        [_weights(block) for block in blocks],
        num_heads=network.num_heads,
        norm="pre",
    )
    head = network._head
    return ops.softmax_loss(hidden, head.get_item_embeddings(), head.get_bias(), step.targets)


def _weights(block: Any) -> LayerWeights:
    gelu(block.pff.activation)
    return LayerWeights(
        *projections(block.attention),
        block.attention_norm,
        block.pff.w_1,
        block.pff.w_2,
        block.pff_norm,
    )


def _dropout(block: Any) -> LayerDropout:
    need(block.attention_dropout.p == block.pff_dropout.p, "its sublayers drop differently")
    return LayerDropout(
        block.attention.dropout, block.attention_dropout.p, block.pff.dropout.p, block.dropout.p
    )


def _methods() -> dict:
    from replay.models.nn.sequential import Bert4Rec

    return {
        (Bert4Rec, "_compute_loss_ce"): compute_loss,
        (Bert4Rec, "_compute_loss_ce_restricted"): compute_loss,
    }


_patch = Patch("RePlay", _methods)
patch, unpatch = _patch.apply, _patch.undo
