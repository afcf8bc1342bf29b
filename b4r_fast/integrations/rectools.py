"""RecTools' BERT4RecModel: its Lightning module's training step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from .. import ops
from ..model.layer import LayerDropout, LayerWeights
from ..packed import IGNORED_LABEL
from .patch import Patch, need
from .steps import Step, gelu, projections

if TYPE_CHECKING:
    from rectools.models.nn.transformers.lightning import TransformerLightningModule


def training_step(
    module: TransformerLightningModule, batch: dict[str, Tensor], batch_idx: int
) -> Tensor:
    loss = _loss(module, batch)
    module.log(
        module.train_loss_name, loss, on_step=False, on_epoch=True, prog_bar=module.verbose > 0
    )
    return loss


def _loss(module: TransformerLightningModule, batch: dict[str, Tensor]) -> Tensor:
    from rectools.models.nn.transformers.net_blocks import (
        LearnableInversePositionalEncoding,
        PreLNTransformerLayers,
    )
    from rectools.models.nn.transformers.similarity import DistanceSimilarityModule
    from rectools.models.nn.transformers.torch_backbone import TransformerTorchBackbone

    backbone = module.torch_model
    layers, positions = backbone.transformer_layers, backbone.pos_encoding_layer
    similarity = backbone.similarity_module
    need(module.loss == "softmax", f"its loss is {module.loss}")
    need(
        type(backbone) is TransformerTorchBackbone
        and type(layers) is PreLNTransformerLayers
        and type(positions) is LearnableInversePositionalEncoding
        and type(similarity) is DistanceSimilarityModule,
        "a part of its network was replaced",
    )
    need(not backbone.use_causal_attn, "its attention is causal")
    need(backbone.use_key_padding_mask, "its attention reads padding")
    need(similarity.distance.value == "dot", "it ranks by the cosine")
    need(not positions.use_scale_factor, "its positions are scaled")
    x, y, weights = batch["x"], batch["y"], batch["yw"]
    blocks = list(layers.transformer_blocks)
    labels = y.masked_fill(y == 0, IGNORED_LABEL)
    step = Step.of(x, x != 0, labels, [_dropout(block) for block in blocks], module.training)
    table = backbone.item_model.get_all_embeddings()
    hidden = table[step.batch.values]
    if positions.pos_emb is not None:
        # Counted from the end.
        hidden = hidden + positions.pos_emb.weight[x.shape[1] - 1 - step.places]
    hidden = step.through(
        backbone.emb_dropout(hidden),
        [_weights(block) for block in blocks],
        num_heads=backbone.n_heads,
        norm="pre",
    )
    weights = weights[y != 0]
    loss = ops.softmax_loss(hidden / module.logits_t, table, None, step.targets, weights=weights)
    # Theirs is a mean over the labels that count, not over what they weigh.
    return loss * (weights.sum() / weights.count_nonzero())


def _weights(block: Any) -> LayerWeights:
    gelu(block.feed_forward.ff_activation)
    return LayerWeights(
        *projections(block.multi_head_attn),
        block.layer_norm_1,
        block.feed_forward.ff_linear_1,
        block.feed_forward.ff_linear_2,
        block.layer_norm_2,
    )


def _dropout(block: Any) -> LayerDropout:
    need(block.dropout_1.p == block.dropout_2.p, "its sublayers drop differently")
    return LayerDropout(
        block.multi_head_attn.dropout,
        block.dropout_1.p,
        block.feed_forward.ff_dropout_1.p,
        block.dropout_3.p,
    )


def _methods() -> dict:
    from rectools.models.nn.transformers.lightning import TransformerLightningModule

    return {(TransformerLightningModule, "training_step"): training_step}


_patch = Patch("RecTools", _methods)
patch, unpatch = _patch.apply, _patch.undo
