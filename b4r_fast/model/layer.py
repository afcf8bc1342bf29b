"""One transformer layer over packed sequences: multi-head attention and feed-forward network
(paper, section 3.3).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .. import ops
from ..packed import PackedSequences
from .config import BERT4RecConfig
from .seeds import LayerSeeds


@dataclass(frozen=True, slots=True)
class SelectedTokens:
    """The tokens that the last layer computes.

    index: (rows,) int64, which of the batch's tokens, ascending. cu_seqlens: (batch + 1,) int32,
    sequence b owns rows cu_seqlens[b] to cu_seqlens[b + 1] - 1.
    """

    index: Tensor
    cu_seqlens: Tensor

    @classmethod
    def last(cls, batch: PackedSequences) -> SelectedTokens:
        """The last token of every sequence; none may be empty."""
        every = torch.arange(len(batch) + 1, dtype=torch.int32, device=batch.values.device)
        return cls(batch.cu_seqlens[1:].long() - 1, every)


class TransformerLayer(nn.Module):
    """x = LN(x + Dropout(MultiHead(x))), x = LN(x + Dropout(FFN(x))); with norm "pre", x = x +
    Dropout(sublayer(LN(x))) twice.
    """

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

    def forward(
        self,
        x: Tensor,
        batch: PackedSequences,
        selected: SelectedTokens | None,
        seeds: LayerSeeds | None,
    ) -> Tensor:
        """x: (tokens, hidden) -> (tokens, hidden), or (rows, hidden) of the selected tokens alone.
        seeds None: no dropout.
        """
        attention_seed, residual_seed, ffn_seed = seeds or (None, None, None)
        dropout_p = 0.0 if seeds is None else self.config.hidden_dropout
        projection, norm = self.attention_output, self.attention_norm
        approximate = "tanh" if self.config.activation == "gelu_tanh" else "none"
        feed_forward = (
            self.ffn_in.weight,
            self.ffn_in.bias,
            self.ffn_out.weight,
            self.ffn_out.bias,
        )
        if self.config.norm == "pre":
            _, attended = self._attend(norm(x), batch, selected, attention_seed)
            x = x if selected is None else x[selected.index]
            attended = ops.linear(attended, projection.weight, projection.bias)
            x = x + ops.dropout(attended, dropout_p=dropout_p, seed=residual_seed)
            fed = ops.gelu_ffn(self.ffn_norm(x), *feed_forward, approximate=approximate)
            return x + ops.dropout(fed, dropout_p=dropout_p, seed=ffn_seed)
        x, attended = self._attend(x, batch, selected, attention_seed)
        x = ops.residual_linear_layer_norm(
            attended,
            projection.weight,
            projection.bias,
            x,
            norm.weight,
            norm.bias,
            eps=norm.eps,
            dropout_p=dropout_p,
            seed=residual_seed,
        )
        norm = self.ffn_norm
        return ops.residual_ffn_layer_norm(
            x,
            *feed_forward,
            norm.weight,
            norm.bias,
            eps=norm.eps,
            approximate=approximate,
            dropout_p=dropout_p,
            seed=ffn_seed,
        )

    def _attend(
        self,
        x: Tensor,
        batch: PackedSequences,
        selected: SelectedTokens | None,
        seed: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """The tokens that ask, (rows, hidden), all or the selected ones, and what they attend to,
        (rows, hidden).
        """
        heads, size = self.config.num_heads, self.config.head_size
        if selected is None:
            queries, q = x, None
            joint = ops.linear(x, self.qkv.weight, self.qkv.bias).view(-1, 3, heads, size)
        else:
            queries, q, joint = ops.selected_projection(
                x, self.qkv.weight, self.qkv.bias, selected.index
            )
            q, joint = q.view(-1, heads, size), joint.view(-1, 2, heads, size)
        out = ops.joint_attention(
            joint,
            batch.cu_seqlens,
            batch.max_seqlen,
            q=q,
            cu_seqlens_q=None if selected is None else selected.cu_seqlens,
            dropout_p=0.0 if seed is None else self.config.attention_dropout,
            seed=seed,
        )
        return queries, out.flatten(1)
