"""RecBole's BERT4Rec: its loss, where it is the cross-entropy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .. import ops
from ..model.layer import LayerDropout, LayerWeights
from ..packed import IGNORED_LABEL
from .patch import Patch, need
from .steps import Step, joined, plain

if TYPE_CHECKING:
    from recbole.model.sequential_recommender import BERT4Rec


def calculate_loss(model: BERT4Rec, interaction: Any) -> Tensor:
    need(model.loss_type == "CE", f"its loss is {model.loss_type}")
    need(model.hidden_act == "gelu", f"its activation is {model.hidden_act}")
    ids, items = interaction[model.MASK_ITEM_SEQ], interaction[model.POS_ITEMS]
    places = interaction[model.MASK_INDEX]
    row, column = (places > 0).nonzero(as_tuple=True)  # 0 is room that nothing takes
    labels = torch.full_like(ids, IGNORED_LABEL)
    labels[row, places[row, column]] = items[row, column]
    blocks = list(model.trm_encoder.layer)
    dropout = LayerDropout(model.attn_dropout_prob, model.hidden_dropout_prob)
    step = Step.of(ids, ids != 0, labels, [dropout] * len(blocks), model.training)
    plain(model.item_embedding, model.position_embedding, model.LayerNorm)
    plain(model.output_ffn, model.output_ln)
    hidden = step.through(
        ops.embedding_layer_norm(
            step.batch.values,
            step.places,
            model.item_embedding.weight,
            model.position_embedding.weight,
            model.LayerNorm.weight,
            model.LayerNorm.bias,
            eps=model.LayerNorm.eps,
            dropout_p=0.0 if step.seeds is None else model.dropout.p,
            seed=None if step.seeds is None else step.seeds.embedding,
        ),
        [_weights(block) for block in blocks],
        num_heads=model.n_heads,
        norm="post",
    )
    hidden = ops.linear_gelu_layer_norm(
        hidden,
        model.output_ffn.weight,
        model.output_ffn.bias,
        model.output_ln.weight,
        model.output_ln.bias,
        eps=model.output_ln.eps,
    )
    table = model.item_embedding.weight[: model.n_items]
    return ops.softmax_loss(hidden, table, model.output_bias, step.targets)


def _weights(block: Any) -> LayerWeights:
    attention, feed_forward = block.multi_head_attention, block.feed_forward
    return LayerWeights(
        joined(attention.query, attention.key, attention.value),
        attention.dense,
        attention.LayerNorm,
        feed_forward.dense_1,
        feed_forward.dense_2,
        feed_forward.LayerNorm,
    )


def _methods() -> dict:
    from recbole.model.sequential_recommender import BERT4Rec

    return {(BERT4Rec, "calculate_loss"): calculate_loss}


_patch = Patch("RecBole", _methods)
patch, unpatch = _patch.apply, _patch.undo
