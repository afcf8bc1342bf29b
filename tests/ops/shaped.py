"""Every op as a function of the sizes alone: its call, and the shapes of the tensors
that it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from b4r_fast import ops

SEED = torch.tensor(-3_000_000_019)


@dataclass(frozen=True)
class Sizes:
    """lengths: of the sequences. The hidden size is heads * head_size. The rows of the losses, topk
    and rank are the tokens.

    device: of what an op takes beside its differentiable tensors.
    """

    lengths: tuple[int, ...] = (5, 9)
    heads: int = 2
    head_size: int = 8
    intermediate: int = 20
    items: int = 30
    negatives: int = 10
    dropout_p: float = 0.0
    reduction: str = "mean"
    device: torch.device | str = "cpu"

    @property
    def tokens(self) -> int:
        return sum(self.lengths)

    @property
    def hidden(self) -> int:
        return self.heads * self.head_size

    @property
    def longest(self) -> int:
        return max(self.lengths, default=0)

    @property
    def dropout(self) -> dict:
        return {"dropout_p": self.dropout_p, "seed": SEED.to(self.device)}

    def offsets(self, lengths: Sequence[int] | None = None) -> torch.Tensor:
        """Of the sequences, or of others."""
        return (
            torch.tensor([0, *(self.lengths if lengths is None else lengths)], device=self.device)
            .cumsum(0)
            .int()
        )

    def rows_of(self, table: int, *shape: int) -> torch.Tensor:
        """The same on every device."""
        return torch.randint(table, shape, generator=torch.Generator().manual_seed(table)).to(
            self.device
        )


def targets(s: Sizes) -> torch.Tensor:
    """Every fourth row has none; the first has one, lest a small batch have no loss at all."""
    rows = s.rows_of(s.items, s.tokens)
    rows[3::4] = -100
    return rows


Shaped = tuple[Callable, list[tuple[int, ...]]]


def attention(s: Sizes) -> Shaped:
    shape = (s.tokens, s.heads, s.head_size)
    return lambda q, k, v: ops.attention(q, k, v, s.offsets(), s.longest, **s.dropout), [shape] * 3


def attention_of_some_queries(s: Sizes) -> Shaped:
    asking = [(n + 1) // 2 for n in s.lengths]
    some, shape = (sum(asking), s.heads, s.head_size), (s.tokens, s.heads, s.head_size)
    return (
        lambda q, k, v: ops.attention(
            q, k, v, s.offsets(), s.longest, cu_seqlens_q=s.offsets(asking), **s.dropout
        ),
        [some, shape, shape],
    )


def joint_attention(s: Sizes) -> Shaped:
    return lambda joint: ops.joint_attention(joint, s.offsets(), s.longest, **s.dropout), [
        (s.tokens, 3, s.heads, s.head_size)
    ]


def linear(s: Sizes) -> Shaped:
    return ops.linear, [(s.tokens, s.hidden), (s.intermediate, s.hidden), (s.intermediate,)]


def gelu_ffn(s: Sizes) -> Shaped:
    d, f = s.hidden, s.intermediate
    return ops.gelu_ffn, [(s.tokens, d), (f, d), (f,), (d, f), (d,)]


def residual_linear_layer_norm(s: Sizes) -> Shaped:
    """The attention's output has another size than the hidden layer, to tell them apart."""
    d, size_in = s.hidden, s.hidden // 2 + 1
    return (
        lambda *tensors: ops.residual_linear_layer_norm(*tensors, eps=1e-6, **s.dropout),
        [(s.tokens, size_in), (d, size_in), (d,), (s.tokens, d), (d,), (d,)],
    )


def residual_ffn_layer_norm(s: Sizes) -> Shaped:
    d, f = s.hidden, s.intermediate
    return (
        lambda *tensors: ops.residual_ffn_layer_norm(*tensors, eps=1e-6, **s.dropout),
        [(s.tokens, d), (f, d), (f,), (d, f), (d,), (d,), (d,)],
    )


def linear_gelu_layer_norm(s: Sizes) -> Shaped:
    d, size_in = s.hidden, s.hidden // 2 + 1
    return lambda *tensors: ops.linear_gelu_layer_norm(*tensors, eps=1e-6), [
        (s.tokens, size_in),
        (d, size_in),
        (d,),
        (d,),
        (d,),
    ]


def selected_projection(s: Sizes) -> Shaped:
    """All three results, one after the other."""
    rows = torch.arange(0, s.tokens, 3, device=s.device)

    return (
        lambda *tensors: torch.cat(
            [part.flatten() for part in ops.selected_projection(*tensors, rows)]
        ),
        [(s.tokens, s.hidden), (3 * s.hidden, s.hidden), (3 * s.hidden,)],
    )


def residual_layer_norm(s: Sizes) -> Shaped:
    shape = (s.tokens, s.hidden)
    return lambda *tensors: ops.residual_layer_norm(*tensors, eps=1e-6, **s.dropout), [
        shape,
        shape,
        (s.hidden,),
        (s.hidden,),
    ]


def embedding_layer_norm(s: Sizes) -> Shaped:
    positions = torch.cat([torch.arange(n, device=s.device) for n in (0, *s.lengths)])
    return (
        lambda *tensors: ops.embedding_layer_norm(
            s.rows_of(s.items, s.tokens), positions, *tensors, eps=1e-6, **s.dropout
        ),
        [(s.items, s.hidden), (max(s.longest, 1), s.hidden), (s.hidden,), (s.hidden,)],
    )


def dropout(s: Sizes) -> Shaped:
    return lambda x: ops.dropout(x, **s.dropout), [(s.tokens, s.hidden)]


def softmax_loss(s: Sizes) -> Shaped:
    return (
        lambda h, c, b: ops.softmax_loss(h, c, b, targets(s), reduction=s.reduction),
        [(s.tokens, s.hidden), (s.items, s.hidden), (s.items,)],
    )


def softmax_loss_with_weights(s: Sizes) -> Shaped:
    weights = torch.arange(s.tokens, device=s.device) % 5 / 2
    return (
        lambda h, c, b: ops.softmax_loss(
            h, c, b, targets(s), weights=weights, reduction=s.reduction
        ),
        [(s.tokens, s.hidden), (s.items, s.hidden), (s.items,)],
    )


def sampled_softmax_loss(s: Sizes, *rows: int) -> Shaped:
    negatives = s.rows_of(s.items, *rows, s.negatives)
    log_q = -negatives.float().log1p()  # of fp32 as sample_negatives returns it, whatever the dtype
    return (
        lambda h, c, b: ops.sampled_softmax_loss(
            h, c, b, targets(s), negatives, log_q=log_q, reduction=s.reduction
        ),
        [(s.tokens, s.hidden), (s.items, s.hidden), (s.items,)],
    )


def sampled_softmax_loss_with_private_negatives(s: Sizes) -> Shaped:
    return sampled_softmax_loss(s, s.tokens)


def sample_negatives(s: Sizes) -> Shaped:
    return lambda: ops.sample_negatives(
        (max(s.tokens, 1), s.negatives), s.items, seed=SEED.to(s.device)
    )[0], []


def cloze_mask(s: Sizes) -> Shaped:
    arguments = {"mask_prob": 0.3, "last_only": 0.2, "mask_id": s.items, "seed": SEED.to(s.device)}
    return lambda: torch.stack(
        ops.cloze_mask(s.rows_of(s.items, s.tokens), s.offsets(), **arguments)
    ), []


def select_labelled(s: Sizes) -> Shaped:
    """More rows than labels."""
    labels = torch.where(targets(s) % 3 == 0, targets(s), -100)
    return lambda: torch.cat(ops.select_labelled(labels, s.offsets(), (2 * s.tokens + 2) // 3)), []


def token_positions(s: Sizes) -> Shaped:
    return lambda: ops.token_positions(s.offsets(), s.tokens), []


def adamw_rows(s: Sizes) -> Shaped:
    """What the named rows of the table and its moments become; the others must stay."""
    rows = torch.arange(0, s.items, 3, device=s.device)[: s.tokens]

    def step(table, exp_avg, exp_avg_sq, gradient):
        before = torch.stack((table, exp_avg, exp_avg_sq.square())).detach()
        after = before.clone()
        ops.adamw_rows(
            *after,
            rows,
            gradient.detach(),
            lr=0.1,
            betas=(0.9, 0.999),
            eps=1e-8,
            weight_decay=0.01,
            step=2,
        )
        assert torch.equal(before.index_fill(1, rows, 0.0), after.index_fill(1, rows, 0.0))
        return after[:, rows]

    return step, [*[(s.items, s.hidden)] * 3, (len(rows), s.hidden)]


def topk(s: Sizes) -> Shaped:
    return (
        lambda h, c, b: ops.topk(h, c, b, min(3, s.items))[0],
        [(s.tokens, s.hidden), (s.items, s.hidden), (s.items,)],
    )


def rank(s: Sizes) -> Shaped:
    """Of small whole numbers, whose scores are exact: two roundings of one score may stand on
    either side of another.
    """
    return (
        lambda h, c, b: ops.rank(*(t.round() for t in (h, c, b)), targets(s).clamp(min=0)),
        [(s.tokens, s.hidden), (s.items, s.hidden), (s.items,)],
    )


SHAPED = {
    shaped.__name__: shaped
    for shaped in (
        attention,
        attention_of_some_queries,
        joint_attention,
        linear,
        gelu_ffn,
        residual_layer_norm,
        residual_linear_layer_norm,
        residual_ffn_layer_norm,
        linear_gelu_layer_norm,
        selected_projection,
        embedding_layer_norm,
        dropout,
        softmax_loss,
        softmax_loss_with_weights,
        sampled_softmax_loss,
        sampled_softmax_loss_with_private_negatives,
        sample_negatives,
        cloze_mask,
        select_labelled,
        token_positions,
        adamw_rows,
        topk,
        rank,
    )
}
