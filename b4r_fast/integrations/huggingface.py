"""Transformers' BertForMaskedLM: its forward in training, where labels are given.

Such a step returns the loss without logits; in evaluation mode all is as it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .. import ops
from ..convert.huggingface import ACTIVATIONS
from ..model.layer import LayerDropout, LayerWeights
from .patch import CannotServe, Patch, need
from .steps import Step, joined, plain

if TYPE_CHECKING:
    from transformers import BertForMaskedLM
    from transformers.modeling_outputs import MaskedLMOutput

APPROXIMATE = {"gelu": "none", "gelu_tanh": "tanh"}


def forward(
    model: BertForMaskedLM,
    input_ids: Tensor | None = None,
    attention_mask: Tensor | None = None,
    token_type_ids: Tensor | None = None,
    position_ids: Tensor | None = None,
    inputs_embeds: Tensor | None = None,
    encoder_hidden_states: Tensor | None = None,
    encoder_attention_mask: Tensor | None = None,
    labels: Tensor | None = None,
    **others: Any,
) -> MaskedLMOutput:
    from transformers.modeling_outputs import MaskedLMOutput

    config = model.config
    if labels is None or input_ids is None or not model.training:
        raise CannotServe("")  # nothing to say: it is no training step
    wanted = [name for name in ("output_attentions", "output_hidden_states") if others.get(name)]
    need(not wanted, f"{' and '.join(wanted)} asked for")
    need(config.hidden_act in ACTIVATIONS, f"its activation is {config.hidden_act}")
    need(not config.is_decoder and encoder_hidden_states is None, "it is a decoder")
    kind = getattr(config, "position_embedding_type", "absolute")
    need(kind == "absolute", f"its positions are {kind}")
    real = torch.ones_like(input_ids) if attention_mask is None else attention_mask
    need(real.dim() == 2, "its attention mask is not one of tokens")
    layers = list(model.bert.encoder.layer)
    dropout = LayerDropout(config.attention_probs_dropout_prob, config.hidden_dropout_prob)
    step = Step.of(input_ids, real.bool(), labels, [dropout] * len(layers), training=True)
    embeddings, head = model.bert.embeddings, model.cls.predictions
    tokens = step.batch.values
    places = step.places if position_ids is None else position_ids.expand_as(input_ids)[real.bool()]
    types = torch.zeros_like(tokens)
    if token_type_ids is not None:
        types = token_type_ids.expand_as(input_ids)[real.bool()]
    hidden = embeddings.word_embeddings(tokens) + embeddings.position_embeddings(places)
    hidden = embeddings.LayerNorm(hidden + embeddings.token_type_embeddings(types))
    approximate = APPROXIMATE[ACTIVATIONS[config.hidden_act]]
    hidden = step.through(
        embeddings.dropout(hidden),
        [_weights(layer) for layer in layers],
        num_heads=config.num_attention_heads,
        norm="post",
        approximate=approximate,
    )
    transform, decoder = head.transform, head.decoder
    plain(transform.dense, transform.LayerNorm, decoder)
    hidden = ops.linear_gelu_layer_norm(
        hidden,
        transform.dense.weight,
        transform.dense.bias,
        transform.LayerNorm.weight,
        transform.LayerNorm.bias,
        eps=transform.LayerNorm.eps,
        approximate=approximate,
    )
    loss = ops.softmax_loss(hidden, decoder.weight, decoder.bias, step.targets)
    if not others.get("return_dict", config.return_dict):
        return (loss,)  # type: ignore[return-value]
    return MaskedLMOutput(loss=loss)


def _weights(layer: Any) -> LayerWeights:
    attention = layer.attention
    return LayerWeights(
        joined(attention.self.query, attention.self.key, attention.self.value),
        attention.output.dense,
        attention.output.LayerNorm,
        layer.intermediate.dense,
        layer.output.dense,
        layer.output.LayerNorm,
    )


def _methods() -> dict:
    from transformers import BertForMaskedLM

    return {(BertForMaskedLM, "forward"): forward}


_patch = Patch("transformers", _methods)
patch, unpatch = _patch.apply, _patch.undo
