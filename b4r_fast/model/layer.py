"""One transformer layer over packed sequences: multi-head attention and feed-forward network (paper, section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .. import ops
from ..packed import PackedSequences
from .config import BERT4RecConfig


@dataclass(frozen=True, slots=True)
class SelectedTokens:
    """The tokens that the last layer computes.

    index: (rows,) int64, which of the batch's tokens, ascending. cu_seqlens: (batch + 1,) int32, sequence b owns rows cu_seqlens[b] to
    cu_seqlens[b + 1] - 1.
    """

    index: Tensor
    cu_seqlens: Tensor

    @classmethod
    def where(cls, chosen: Tensor, batch: PackedSequences) -> SelectedTokens:
        """The tokens where chosen (tokens,) is true."""
        index = chosen.nonzero().squeeze(1)
        return cls(index, torch.searchsorted(index, batch.cu_seqlens).int())

    @classmethod
    def last(cls, batch: PackedSequences) -> SelectedTokens:
        """The last token of every sequence; none may be empty."""
        every = torch.arange(len(batch) + 1, dtype=torch.int32, device=batch.values.device)
        return cls(batch.cu_seqlens[1:].long() - 1, every)


class TransformerLayer(nn.Module):
    """x = LN(x + Dropout(MultiHead(x))), x = LN(x + Dropout(FFN(x))); with norm "pre", x = x + Dropout(sublayer(LN(x))) twice."""

    SEEDS = 3  # attention, and the end of each of the two sublayers

    def __init__(self, config: BERT4RecConfig) -> None:
        super().__init__()
        d, f = config.hidden_size, config.intermediate_size
        self.config = config
        self.qkv = nn.Linear(d, 3 * d)
        self.attention_output = nn.Linear(d, d)
        self.attention_norm = nn.LayerNorm(d, eps=config.layer_norm_eps)
        self.ffn_in = nn.Linear(d, f)
        self.ffn_out = nn.Linear(f, d)
        self.ffn_norm = nn.LayerNorm(d, eps=config.layer_norm_eps)

    def forward(self, x: Tensor, batch: PackedSequences, selected: SelectedTokens | None, seeds: list[Tensor] | None) -> Tensor:
        """x: (tokens, hidden) -> (tokens, hidden), or (rows, hidden) of the selected tokens alone. seeds None: no dropout."""
        attention_seed, residual_seed, ffn_seed = seeds or (None,) * self.SEEDS
        pre = self.config.norm == "pre"

        def chosen(tokens: Tensor) -> Tensor:
            return tokens if selected is None else tokens[selected.index]

        normed = self.attention_norm(x) if pre else x
        queries = chosen(normed)
        attended = self._attend(queries, normed, batch, selected, attention_seed)
        x = self._add(chosen(x) if pre else queries, attended, self.attention_norm, residual_seed)
        return self._add(x, self._ffn(self.ffn_norm(x) if pre else x), self.ffn_norm, ffn_seed)

    def _attend(self, queries: Tensor, x: Tensor, batch: PackedSequences, selected: SelectedTokens | None, seed: Tensor | None) -> Tensor:
        heads, d = self.config.num_heads, self.config.hidden_size
        weight, bias, size = self.qkv.weight, self.qkv.bias, self.config.head_size
        if selected is None:
            q, joint = None, ops.linear(x, weight, bias).view(-1, 3, heads, size)
        else:
            q = ops.linear(queries, weight[:d], bias[:d]).view(-1, heads, size)
            joint = ops.linear(x, weight[d:], bias[d:]).view(-1, 2, heads, size)
        out = ops.joint_attention(
            joint,
            batch.cu_seqlens,
            batch.max_seqlen,
            q=q,
            cu_seqlens_q=None if selected is None else selected.cu_seqlens,
            dropout_p=0.0 if seed is None else self.config.attention_dropout,
            seed=seed,
        )
        return ops.linear(out.flatten(1), self.attention_output.weight, self.attention_output.bias)

    def _ffn(self, x: Tensor) -> Tensor:
        approximate = "tanh" if self.config.activation == "gelu_tanh" else "none"
        return ops.gelu_ffn(x, self.ffn_in.weight, self.ffn_in.bias, self.ffn_out.weight, self.ffn_out.bias, approximate=approximate)

    def _add(self, x: Tensor, sublayer: Tensor, norm: nn.LayerNorm, seed: Tensor | None) -> Tensor:
        dropout_p = 0.0 if seed is None else self.config.hidden_dropout
        if self.config.norm == "pre":
            return x + ops.dropout(sublayer, dropout_p=dropout_p, seed=seed)
        return ops.residual_layer_norm(x, sublayer, norm.weight, norm.bias, eps=norm.eps, dropout_p=dropout_p, seed=seed)
