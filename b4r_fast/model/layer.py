"""One transformer layer over packed sequences: multi-head attention and feed-forward network
(paper, section 3.3), as a function of weights or modules, and as a module of our own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from .. import ops
from ..packed import PackedSequences
from .config import BERT4RecConfig
from .fused import Affine, Normalised, only_read
from .seeds import LayerSeeds

Linear: TypeAlias = nn.Linear | Affine
Norm: TypeAlias = nn.LayerNorm | Normalised


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


class LayerDropout(NamedTuple):
    """Rates. attention: of its probabilities. hidden: of what leaves each of the two sublayers.
    activation: between the two products of the feed-forward network. output: of what leaves the
    layer.
    """

    attention: float = 0.0
    hidden: float = 0.0
    activation: float = 0.0
    output: float = 0.0


NO_DROPOUT = LayerDropout()


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """What a layer computes with, each a module, which is called where it is more than its weights,
    or the weights alone. qkv: (3 d, d), one below the other. attention_norm, ffn_norm: of the two
    sublayers.
    """

    qkv: Linear
    attention_output: Linear
    attention_norm: Norm
    ffn_in: Linear
    ffn_out: Linear
    ffn_norm: Norm


def transformer_layer(
    x: Tensor,
    batch: PackedSequences,
    layer: LayerWeights,
    *,
    num_heads: int,
    norm: str = "post",
    approximate: str = "none",
    dropout: LayerDropout = NO_DROPOUT,
    selected: SelectedTokens | None = None,
    seeds: LayerSeeds | None = None,
) -> Tensor:
    """A layer without a state of its own: norm "post" computes x = LN(x + Dropout(MultiHead(x))),
    x = LN(x + Dropout(FFN(x))), and "pre" x = x + Dropout(sublayer(LN(x))) twice.

    x: (tokens, hidden) of the batch. approximate: of GELU, "none" or "tanh". seeds None: no
    dropout. Returns (tokens, hidden), or (rows, hidden) of the selected tokens alone.
    """
    p = NO_DROPOUT if seeds is None else dropout
    attention_seed, residual_seed, ffn_seed, activation_seed, output_seed = seeds or (None,) * 5
    pre = norm == "pre"
    asked = _called(layer.attention_norm, x) if pre else x
    asking, attended = _attend(
        layer.qkv, asked, batch, num_heads, selected, p.attention, attention_seed
    )
    if pre:
        x = x if selected is None else x[selected.index]
        attended = _called(layer.attention_output, attended)
        x = x + ops.dropout(attended, dropout_p=p.hidden, seed=residual_seed)
        fed = _feed(layer, _called(layer.ffn_norm, x), approximate, p.activation, activation_seed)
        x = x + ops.dropout(fed, dropout_p=p.hidden, seed=ffn_seed)
    else:
        x = _project_and_add(layer, asking, attended, p.hidden, residual_seed)
        x = _feed_and_add(layer, x, approximate, p, ffn_seed, activation_seed)
    return x if p.output == 0.0 else ops.dropout(x, dropout_p=p.output, seed=output_seed)


class TransformerLayer(nn.Module):
    """transformer_layer with weights of its own."""

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

    @property
    def weights(self) -> LayerWeights:
        return LayerWeights(
            self.qkv,
            self.attention_output,
            self.attention_norm,
            self.ffn_in,
            self.ffn_out,
            self.ffn_norm,
        )

    def forward(
        self,
        x: Tensor,
        batch: PackedSequences,
        selected: SelectedTokens | None,
        seeds: LayerSeeds | None,
    ) -> Tensor:
        """As transformer_layer."""
        config = self.config
        return transformer_layer(
            x,
            batch,
            self.weights,
            num_heads=config.num_heads,
            norm=config.norm,
            approximate=config.approximate,
            dropout=LayerDropout(
                config.attention_dropout,
                config.hidden_dropout,
                config.activation_dropout,
                config.output_dropout,
            ),
            selected=selected,
            seeds=seeds,
        )


def _called(part: Linear | Norm, x: Tensor) -> Tensor:
    """What a linear layer or a norm makes of x."""
    if isinstance(part, nn.LayerNorm | Normalised) or not only_read(part):
        return part(x)
    return ops.linear(x, part.weight, part.bias)


def _project_and_add(
    layer: LayerWeights,
    x: Tensor,
    attended: Tensor,
    dropout_p: float,
    seed: Tensor | None,
) -> Tensor:
    """LN(x + Dropout(attended W + b))."""
    projection, norm = layer.attention_output, layer.attention_norm
    if not only_read(projection, norm):
        return _add_and_norm(x, _called(projection, attended), norm, dropout_p, seed)
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


def _feed(
    layer: LayerWeights,
    x: Tensor,
    approximate: str,
    dropout_p: float,
    seed: Tensor | None,
) -> Tensor:
    """FFN(x)."""
    if dropout_p == 0.0 and only_read(layer.ffn_in, layer.ffn_out):
        return ops.gelu_ffn(x, *_feed_forward(layer), approximate=approximate)
    hidden = nn.functional.gelu(_called(layer.ffn_in, x), approximate=approximate)
    return _called(layer.ffn_out, ops.dropout(hidden, dropout_p=dropout_p, seed=seed))


def _feed_and_add(
    layer: LayerWeights,
    x: Tensor,
    approximate: str,
    dropout: LayerDropout,
    seed: Tensor | None,
    activation_seed: Tensor | None,
) -> Tensor:
    """LN(x + Dropout(FFN(x)))."""
    norm, p = layer.ffn_norm, dropout.activation
    if p > 0.0 or not only_read(layer.ffn_in, layer.ffn_out, norm):
        fed = _feed(layer, x, approximate, p, activation_seed)
        return _add_and_norm(x, fed, norm, dropout.hidden, seed)
    return ops.residual_ffn_layer_norm(
        x,
        *_feed_forward(layer),
        norm.weight,
        norm.bias,
        eps=norm.eps,
        approximate=approximate,
        dropout_p=dropout.hidden,
        seed=seed,
    )


def _feed_forward(layer: LayerWeights) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return layer.ffn_in.weight, layer.ffn_in.bias, layer.ffn_out.weight, layer.ffn_out.bias


def _attend(
    qkv: Linear,
    x: Tensor,
    batch: PackedSequences,
    num_heads: int,
    selected: SelectedTokens | None,
    dropout_p: float,
    seed: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """The tokens that ask, (rows, hidden), all or the selected ones, and what they attend to,
    (rows, hidden).
    """
    asking, q, joint = _queries_keys_values(qkv, x, num_heads, selected)
    out = ops.joint_attention(
        joint,
        batch.cu_seqlens,
        batch.max_seqlen,
        q=q,
        cu_seqlens_q=None if selected is None else selected.cu_seqlens,
        dropout_p=dropout_p,
        seed=seed,
    )
    return asking, out.flatten(1)


def _queries_keys_values(
    qkv: Linear, x: Tensor, num_heads: int, selected: SelectedTokens | None
) -> tuple[Tensor, Tensor | None, Tensor]:
    """The tokens that ask, and q and joint as ops.joint_attention takes them."""
    heads, size = num_heads, x.shape[1] // num_heads
    if selected is None:
        return x, None, _called(qkv, x).view(-1, 3, heads, size)
    if not only_read(qkv):
        joint = qkv(x).view(-1, 3, heads, size)
        return x[selected.index], joint[selected.index, 0], joint[:, 1:].contiguous()
    asking, q, joint = ops.selected_projection(x, qkv.weight, qkv.bias, selected.index)
    return asking, q.view(-1, heads, size), joint.view(-1, 2, heads, size)


def _add_and_norm(
    x: Tensor,
    sublayer: Tensor,
    norm: Norm,
    dropout_p: float,
    seed: Tensor | None,
) -> Tensor:
    """LN(x + Dropout(sublayer)), with the masks of the fused ops."""
    if not only_read(norm):
        return norm(x + ops.dropout(sublayer, dropout_p=dropout_p, seed=seed))
    return ops.residual_layer_norm(
        x, sublayer, norm.weight, norm.bias, eps=norm.eps, dropout_p=dropout_p, seed=seed
    )
