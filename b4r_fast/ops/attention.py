"""Bidirectional multi-head scaled dot-product attention over packed sequences (paper, section 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor

from .checks import check_dropout, check_offsets, check_tensors
from .registration import define, differentiate

_ARGUMENTS = (
    "Tensor cu_seqlens_q, Tensor cu_seqlens_k, SymInt max_seqlen_q, SymInt max_seqlen_k, float scale, float dropout_p, Tensor? seed"
)


def _fake(q, k, v, *_):
    statistics = torch.promote_types(q.dtype, torch.float32)
    return q.new_empty(q.shape), q.new_empty((q.shape[1], q.shape[0]), dtype=statistics)


def _fake_backward(dout, q, k, v, *_):
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


def _check_values(q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, *_):
    check_offsets("cu_seqlens", cu_seqlens_k, k.shape[0], max_seqlen_k)
    if cu_seqlens_q is not cu_seqlens_k:
        check_offsets("cu_seqlens_q", cu_seqlens_q, q.shape[0], max_seqlen_q)


_forward_op = define(
    f"attention(Tensor q, Tensor k, Tensor v, {_ARGUMENTS}) -> (Tensor out, Tensor lse)", _fake, check_values=_check_values
)
_backward_op = define(
    f"attention_backward(Tensor dout, Tensor q, Tensor k, Tensor v, Tensor out, Tensor lse, {_ARGUMENTS})"
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


def _fake_joint(q, joint, *_):
    return _fake(joint[:, 0] if q is None else q, None, None)


def _fake_joint_backward(dout, q, joint, *_):
    return None if q is None else q.new_empty(q.shape), joint.new_empty(joint.shape)


def _check_joint_values(q, joint, *rest):
    _check_values(joint if q is None else q, joint, joint, *rest)


_joint_op = define(
    f"joint_attention(Tensor? q, Tensor joint, {_ARGUMENTS}) -> (Tensor out, Tensor lse)",
    _fake_joint,
    check_values=_check_joint_values,
    like=1,
)
_joint_backward_op = define(
    f"joint_attention_backward(Tensor dout, Tensor? q, Tensor joint, Tensor out, Tensor lse, {_ARGUMENTS}) -> (Tensor? dq, Tensor djoint)",
    _fake_joint_backward,
)


def _setup_joint(ctx, inputs, output):
    q, joint, cu_seqlens_q, cu_seqlens_k, *ctx.sizes_and_scale, seed = inputs
    out, lse = output
    ctx.mark_non_differentiable(lse)
    ctx.save_for_backward(q, joint, out, lse, cu_seqlens_q, cu_seqlens_k, seed)


def _backward_joint(ctx, dout, _):
    *tensors, seed = ctx.saved_tensors
    return *_joint_backward_op(dout, *tensors, *ctx.sizes_and_scale, seed), *[None] * 7


differentiate(_joint_op, _backward_joint, _setup_joint)


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
    """softmax(scale q k^T) v within each sequence and head, with dropout on the softmax; differentiable in q, k and v.

    k, v: (T, H, D), the tokens of all sequences end to end; q: (T, H, D), or (R, H, D) with cu_seqlens_q, when only some tokens ask.
    cu_seqlens: (batch + 1,) int32, sequence b owns tokens cu_seqlens[b] to cu_seqlens[b + 1] - 1; cu_seqlens_q: the same for the rows of q.
    max_seqlen: no sequence is longer. scale: D^-1/2 when None. seed: int64 scalar tensor for the dropout, whose mask depends on (seed, row
    of q, place of the key in its sequence, head); None draws one from torch's generator.
    Returns the shape of q; a row whose sequence has no keys gets 0.
    Raises ValueError for a wrong shape, dtype, device, offsets, or dropout_p outside [0, 1).
    """
    sizes = check_tensors(None, {}, k=(k, "T H D"), v=(v, "T H D"), q=(q, "T H D" if cu_seqlens_q is None else "R H D"))
    check_tensors(torch.int32, sizes, k, cu_seqlens=(cu_seqlens, "batch+1"), cu_seqlens_q=(cu_seqlens_q, "batch+1"))
    seed = check_dropout(dropout_p, seed, q.device)
    if scale is None:
        scale = q.shape[2] ** -0.5
    starts_q = cu_seqlens if cu_seqlens_q is None else cu_seqlens_q
    return _forward_op(q, k, v, starts_q, cu_seqlens, max_seqlen, max_seqlen, scale, dropout_p, seed)[0]


def joint_attention(
    joint: Tensor,
    cu_seqlens: Tensor,
    max_seqlen: int,
    *,
    q: Tensor | None = None,
    cu_seqlens_q: Tensor | None = None,
    dropout_p: float = 0.0,
    seed: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:
    """attention whose operands come out of one projection, and whose gradient goes back into it without being put together first.

    joint: (T, 3, H, D), q, k and v of every token; or with q (R, H, D) and cu_seqlens_q, for the tokens that ask, (T, 2, H, D), k and v.
    All else as in attention. Returns (T, H, D) or (R, H, D). Raises ValueError as attention does.
    """
    parts = 3 if q is None else 2
    if isinstance(joint, Tensor) and (joint.dim() != 4 or joint.shape[1] != parts):
        raise ValueError(f"joint must have shape (T, {parts}, H, D) {'without' if q is None else 'with'} q, got {tuple(joint.shape)}")
    if (q is None) != (cu_seqlens_q is None):
        raise ValueError("q and cu_seqlens_q must be given together")
    sizes = check_tensors(None, {}, joint=(joint, "T parts H D"), q=(q, "R H D"))
    check_tensors(torch.int32, sizes, joint, cu_seqlens=(cu_seqlens, "batch+1"), cu_seqlens_q=(cu_seqlens_q, "batch+1"))
    seed = check_dropout(dropout_p, seed, joint.device)
    if scale is None:
        scale = joint.shape[3] ** -0.5
    starts_q = cu_seqlens if cu_seqlens_q is None else cu_seqlens_q
    return _joint_op(q, joint, starts_q, cu_seqlens, max_seqlen, max_seqlen, scale, dropout_p, seed)[0]
