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
from .fused import only_read
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
        every = torch.arange(batch.batch_size + 1, dtype=torch.int32, device=batch.values.device)
        return cls(batch.cu_seqlens[1:].long() - 1, every)


class TransformerLayer(nn.Module):
    """x = LN(x + Dropout(MultiHead(x))), x = LN(x + Dropout(FFN(x))); with norm "pre", x = x +
    Dropout(sublayer(LN(x))) twice.
    """

    def __init__(self, config: BERT4RecConfig) -> None:
        super().__init__()
        d, f = config.hidden_size, config.intermediate_size
        self.config = config
        self.approximate = "tanh" if config.activation == "gelu_tanh" else "none"
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
        if self.config.norm == "pre":
            _, attended = self._attend(self.attention_norm(x), batch, selected, attention_seed)
            x = x if selected is None else x[selected.index]
            attended = self._project(attended)
            x = x + ops.dropout(attended, dropout_p=dropout_p, seed=residual_seed)
            fed = self._feed(self.ffn_norm(x))
            return x + ops.dropout(fed, dropout_p=dropout_p, seed=ffn_seed)
        x, attended = self._attend(x, batch, selected, attention_seed)
        x = self._project_and_add(x, attended, dropout_p, residual_seed)
        return self._feed_and_add(x, dropout_p, ffn_seed)

    def _project(self, attended: Tensor) -> Tensor:
        projection = self.attention_output
        if not only_read(projection):
            return projection(attended)
        return ops.linear(attended, projection.weight, projection.bias)

    def _project_and_add(
        self, x: Tensor, attended: Tensor, dropout_p: float, seed: Tensor | None
    ) -> Tensor:
        """LN(x + Dropout(attended W + b))."""
        projection, norm = self.attention_output, self.attention_norm
        if not only_read(projection, norm):
            return _add_and_norm(x, self._project(attended), norm, dropout_p, seed)
        return ops.residual_linear_layer_norm(
            attended,
            projection.weight,
            projection.bias,
            x,
            norm.weight,
            norm.bias,
            eps=norm.eps,
            dropout_p=dropout_p,
            seed=seed,
        )

    def _feed(self, x: Tensor) -> Tensor:
        """FFN(x)."""
        if not only_read(self.ffn_in, self.ffn_out):
            hidden = nn.functional.gelu(self.ffn_in(x), approximate=self.approximate)
            return self.ffn_out(hidden)
        return ops.gelu_ffn(x, *self._feed_forward(), approximate=self.approximate)

    def _feed_and_add(self, x: Tensor, dropout_p: float, seed: Tensor | None) -> Tensor:
        """LN(x + Dropout(FFN(x)))."""
        norm = self.ffn_norm
        if not only_read(self.ffn_in, self.ffn_out, norm):
            return _add_and_norm(x, self._feed(x), norm, dropout_p, seed)
        return ops.residual_ffn_layer_norm(
            x,
            *self._feed_forward(),
            norm.weight,
            norm.bias,
            eps=norm.eps,
            approximate=self.approximate,
            dropout_p=dropout_p,
            seed=seed,
        )

    def _feed_forward(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.ffn_in.weight, self.ffn_in.bias, self.ffn_out.weight, self.ffn_out.bias

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
        asking, q, joint = self._queries_keys_values(x, selected)
        out = ops.joint_attention(
            joint,
            batch.cu_seqlens,
            batch.max_seqlen,
            q=q,
            cu_seqlens_q=None if selected is None else selected.cu_seqlens,
            dropout_p=0.0 if seed is None else self.config.attention_dropout,
            seed=seed,
        )
        return asking, out.flatten(1)

    def _queries_keys_values(
        self, x: Tensor, selected: SelectedTokens | None
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """The tokens that ask, and q and joint as ops.joint_attention takes them."""
        heads, size = self.config.num_heads, self.config.head_size
        if not only_read(self.qkv):
            joint = self.qkv(x).view(-1, 3, heads, size)
            if selected is None:
                return x, None, joint
            return x[selected.index], joint[selected.index, 0], joint[:, 1:].contiguous()
        weight, bias = self.qkv.weight, self.qkv.bias
        if selected is None:
            return x, None, ops.linear(x, weight, bias).view(-1, 3, heads, size)
        asking, q, joint = ops.selected_projection(x, weight, bias, selected.index)
        return asking, q.view(-1, heads, size), joint.view(-1, 2, heads, size)


def _add_and_norm(
    x: Tensor, sublayer: Tensor, norm: nn.LayerNorm, dropout_p: float, seed: Tensor | None
) -> Tensor:
    """LN(x + Dropout(sublayer)), with the masks of the fused ops."""
    if not only_read(norm):
        return norm(x + ops.dropout(sublayer, dropout_p=dropout_p, seed=seed))
    return ops.residual_layer_norm(
        x, sublayer, norm.weight, norm.bias, eps=norm.eps, dropout_p=dropout_p, seed=seed
    )
