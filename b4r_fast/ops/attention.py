"""Bidirectional multi-head scaled dot-product attention over packed sequences (paper,
section 3.3).
"""

from __future__ import annotations

import torch
from torch import Tensor

from .checks import check_dropout, check_offsets, check_tensors
from .fakes import fake_gradients
from .registration import define, differentiate

# Those of backends.packing.Packing.
PACKING = (
    "Tensor cu_seqlens_q, Tensor cu_seqlens_k, SymInt max_seqlen_q, SymInt max_seqlen_k, float"
    " scale, float dropout_p, Tensor? seed"
)


def fake_outputs(q):
    """out and the log-sum-exp."""
    statistics = torch.promote_types(q.dtype, torch.float32)
    return q.new_empty(q.shape), q.new_empty((q.shape[1], q.shape[0]), dtype=statistics)


def _fake(q, k, v, *_):
    return fake_outputs(q)


def _fake_backward(dout, q, k, v, *_):
    return fake_gradients(q, k, v)


def check_packing(q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, *_):
    check_offsets("cu_seqlens", cu_seqlens_k, k.shape[0], max_seqlen_k)
    if cu_seqlens_q is not cu_seqlens_k:
        check_offsets("cu_seqlens_q", cu_seqlens_q, q.shape[0], max_seqlen_q)


_forward_op = define(
    f"attention(Tensor q, Tensor k, Tensor v, {PACKING}) -> (Tensor out, Tensor lse)",
    _fake,
    check_values=check_packing,
)
_backward_op = define(
    "attention_backward(Tensor dout, Tensor q, Tensor k, Tensor v, Tensor out, Tensor lse,"
    f" {PACKING})"
    " -> (Tensor dq, Tensor dk, Tensor dv)",
    _fake_backward,
)


def _setup(ctx, inputs, output):
    q, k, v, cu_seqlens_q, cu_seqlens_k, *ctx.sizes_and_scale, seed = inputs
    out, lse = output
    ctx.mark_non_differentiable(lse)
    ctx.save_for_backward(q, k, v, out, lse, cu_seqlens_q, cu_seqlens_k, seed)


def _backward(ctx, dout, _):
    *tensors, seed = ctx.saved_tensors
    return *_backward_op(dout, *tensors, *ctx.sizes_and_scale, seed), *[None] * 7


differentiate(_forward_op, _backward, _setup)


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens: Tensor,
    max_seqlen: int,
    *,
    cu_seqlens_q: Tensor | None = None,
    dropout_p: float = 0.0,
    seed: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:
    """softmax(scale q k^T) v within each sequence and head, with dropout on the softmax;
    differentiable in q, k and v.

    k, v: (T, H, D), the tokens of all sequences end to end; q: (T, H, D), or (R, H, D) with
    cu_seqlens_q, when only some tokens ask. cu_seqlens: (batch + 1,) int32, sequence b owns tokens
    cu_seqlens[b] to cu_seqlens[b + 1] - 1; cu_seqlens_q: the same for the rows of q. max_seqlen: no
    sequence is longer. scale: D^-1/2 when None. seed: int64 scalar tensor for the dropout, whose
    mask depends on (seed, row of q, place of the key in its sequence, head); None draws one from
    torch's generator. Returns the shape of q; a row whose sequence has no keys gets 0. Raises
    ValueError for a wrong shape, dtype, device, offsets, or dropout_p outside [0, 1).
    """
    sizes = check_tensors(
        None,
        {},
        k=(k, "T H D"),
        v=(v, "T H D"),
        q=(q, "T H D" if cu_seqlens_q is None else "R H D"),
    )
    check_tensors(
        torch.int32,
        sizes,
        k,
        cu_seqlens=(cu_seqlens, "batch+1"),
        cu_seqlens_q=(cu_seqlens_q, "batch+1"),
    )
    seed = check_dropout(dropout_p, seed, q.device)
    if scale is None:
        scale = q.shape[2] ** -0.5
    starts_q = cu_seqlens if cu_seqlens_q is None else cu_seqlens_q
    return _forward_op(
        q, k, v, starts_q, cu_seqlens, max_seqlen, max_seqlen, scale, dropout_p, seed
    )[0]
