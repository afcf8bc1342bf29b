"""attention whose operands come out of one projection (paper, section 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor

from .attention import PACKING, check_packing, fake_outputs
from .checks import check_dropout, check_tensors
from .fakes import fake_gradients
from .registration import define, differentiate


def _fake(q, joint, *_):
    return fake_outputs(joint[:, 0] if q is None else q)


def _fake_backward(dout, q, joint, *_):
    return fake_gradients(q, joint)


def _check_values(q, joint, *rest):
    check_packing(joint if q is None else q, joint, joint, *rest)


_forward_op = define(
    f"joint_attention(Tensor? q, Tensor joint, {PACKING}) -> (Tensor out, Tensor lse)",
    _fake,
    check_values=_check_values,
    like="joint",
)
_backward_op = define(
    "joint_attention_backward(Tensor dout, Tensor? q, Tensor joint, Tensor out, Tensor lse,"
    f" {PACKING}) -> (Tensor? dq, Tensor djoint)",
    _fake_backward,
)


def _setup(ctx, inputs, output):
    q, joint, cu_seqlens_q, cu_seqlens_k, *ctx.sizes_and_scale, seed = inputs
    out, lse = output
    ctx.mark_non_differentiable(lse)
    ctx.save_for_backward(q, joint, out, lse, cu_seqlens_q, cu_seqlens_k, seed)


def _backward(ctx, dout, _):
    *tensors, seed = ctx.saved_tensors
    return *_backward_op(dout, *tensors, *ctx.sizes_and_scale, seed), *[None] * 7


differentiate(_forward_op, _backward, _setup)


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
    """attention whose operands come out of one projection, and whose gradient goes back into it
    without being put together first.

    joint: (T, 3, H, D), q, k and v of every token; or with q (R, H, D) and cu_seqlens_q, for the
    tokens that ask, (T, 2, H, D), k and v. All else as in attention. Returns (T, H, D) or (R, H,
    D). Raises ValueError as attention does.
    """
    parts = 3 if q is None else 2
    if isinstance(joint, Tensor) and (joint.dim() != 4 or joint.shape[1] != parts):
        raise ValueError(
            f"joint must have shape (T, {parts}, H, D) {'without' if q is None else 'with'} q, got"
            f" {tuple(joint.shape)}"
        )
    if (q is None) != (cu_seqlens_q is None):
        raise ValueError("q and cu_seqlens_q must be given together")
    sizes = check_tensors(None, {}, joint=(joint, "T parts H D"), q=(q, "R H D"))
    check_tensors(
        torch.int32,
        sizes,
        joint,
        cu_seqlens=(cu_seqlens, "batch+1"),
        cu_seqlens_q=(cu_seqlens_q, "batch+1"),
    )
    seed = check_dropout(dropout_p, seed, joint.device)
    if scale is None:
        scale = joint.shape[3] ** -0.5
    starts_q = cu_seqlens if cu_seqlens_q is None else cu_seqlens_q
    return _forward_op(
        q, joint, starts_q, cu_seqlens, max_seqlen, max_seqlen, scale, dropout_p, seed
    )[0]
