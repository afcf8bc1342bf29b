"""Recommendations by plain operations of torch, for what runs no kernels of ours: ONNX Runtime, or
a program that torch exports. The same weights, and the same answers up to rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..model import BERT4Rec, LayerWeights
from ..model.layer import TransformerLayer
from ..packed import PADDING_ID


class Recommendation(nn.Module):
    """The k best next items of padded histories.

    Takes histories (batch, length) int64, any number of either, item ids with 0 as padding
    anywhere; gives ids (batch, k) int64 and scores (batch, k), best first, as BERT4Rec.recommend
    does. Where fewer than k items remain: id 0 or items already seen, with score -inf.
    """

    def __init__(self, model: BERT4Rec, k: int, *, exclude_seen: bool = True) -> None:
        super().__init__()
        if not 1 <= k <= model.config.num_items:
            raise ValueError(f"k must lie in [1, {model.config.num_items}], got {k}")
        self.model, self.k, self.exclude_seen = model.eval(), k, exclude_seen

    def forward(self, histories: Tensor) -> tuple[Tensor, Tensor]:
        items, bias = self.model.item_embeddings, self.model.output_bias
        scores = self.encode(histories) @ items.T
        scores = scores if bias is None else scores + bias
        scores = nn.functional.pad(scores, (1, 0), value=-torch.inf)
        if self.exclude_seen:
            scores = scores.scatter(1, histories, -torch.inf)
        best, ids = scores.topk(self.k, dim=1)
        return ids, best

    def encode(self, histories: Tensor) -> Tensor:
        """(batch, hidden): the query of each history's next item."""
        model, config = self.model, self.model.config
        real = histories != PADDING_ID
        newer = real.long().flip(1).cumsum(1).flip(1)  # real items from here to the end
        real = real & (newer < config.max_length)  # [MASK] takes one place
        mask = torch.full_like(histories[:, :1], config.mask_id)
        ids = torch.cat((histories * real, mask), 1)
        shown = torch.cat((real, torch.ones_like(mask, dtype=torch.bool)), 1)
        positions = shown.long().cumsum(1) - 1
        if config.positions_from == "end":
            positions = positions + config.max_length - shown.long().sum(1, keepdim=True)
        x = model.item_embedding(ids) + model.position_embedding(positions.clamp(min=0))
        x = x if model.embedding_norm is None else model.embedding_norm(x)
        for layer in model.layers:
            assert isinstance(layer, TransformerLayer)
            x = self._layer(x, layer.weights, shown[:, None, None])
        x = x[:, -1]
        x = x if model.final_norm is None else model.final_norm(x)
        if model.head is None:
            return x
        dense = nn.functional.gelu(model.head.dense(x), approximate=config.approximate)
        return model.head.norm(dense)

    def _layer(self, x: Tensor, layer: LayerWeights, shown: Tensor) -> Tensor:
        config = self.model.config

        def attend(x: Tensor) -> Tensor:
            heads = layer.qkv(x).unflatten(-1, (3, config.num_heads, -1)).permute(2, 0, 3, 1, 4)
            q, k, v = heads.unbind()
            out = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=shown)
            return layer.attention_output(out.transpose(1, 2).flatten(2))

        def feed(x: Tensor) -> Tensor:
            hidden = nn.functional.gelu(layer.ffn_in(x), approximate=config.approximate)
            return layer.ffn_out(hidden)

        if config.norm == "pre":
            x = x + attend(layer.attention_norm(x))
            return x + feed(layer.ffn_norm(x))
        x = layer.attention_norm(x + attend(x))
        return layer.ffn_norm(x + feed(x))
