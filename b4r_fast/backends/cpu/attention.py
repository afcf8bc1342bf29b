"""Glue to csrc/cpu/attention.cpp, which has the maths."""

from __future__ import annotations

import torch
from torch import Tensor

from ..addresses import addresses
from ..reference.attention import heads_together, split_joint
from .instruction_sets import native, native_dropout


def _places(*tensors: Tensor) -> list[int]:
    """Address and floats from one token to the next, of each."""
    return [part for x in tensors for part in (x.data_ptr(), x.stride(0))]


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    scale: float,
    dropout_p: float,
    seed: Tensor | None,
) -> tuple[Tensor, Tensor]:
    q, k, v = heads_together(q), heads_together(k), heads_together(v)
    cu_q, cu_k = cu_seqlens_q.contiguous(), cu_seqlens_k.contiguous()
    rows, heads, d = q.shape
    out, lse = q.new_empty(rows, heads, d), q.new_empty(heads, rows)
    sizes = (len(cu_q) - 1, heads, d, scale, *native_dropout(dropout_p, seed), torch.get_num_threads())
    native.attention(*_places(q, k, v), *addresses(out, lse, cu_q, cu_k), *sizes)
    return out, lse


def _write_gradients(
    dout: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    dq: Tensor,
    dk: Tensor,
    dv: Tensor,
    out: Tensor,
    lse: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    scale: float,
    dropout_p: float,
    seed: Tensor | None,
) -> None:
    dout, q, k, v = dout.contiguous(), heads_together(q), heads_together(k), heads_together(v)
    out, lse, cu_q, cu_k = out.contiguous(), lse.contiguous(), cu_seqlens_q.contiguous(), cu_seqlens_k.contiguous()
    sizes = (len(cu_q) - 1, *q.shape[1:], scale, *native_dropout(dropout_p, seed), torch.get_num_threads())
    native.attention_backward(dout.data_ptr(), *_places(q, k, v, dq, dk, dv), *addresses(out, lse, cu_q, cu_k), *sizes)


def attention_backward(
    dout: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    scale: float,
    dropout_p: float,
    seed: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    dq, dk, dv = (x.new_empty(x.shape) for x in (q, k, v))
    _write_gradients(dout, q, k, v, dq, dk, dv, out, lse, cu_seqlens_q, cu_seqlens_k, scale, dropout_p, seed)
    return dq, dk, dv


def joint_attention(q: Tensor | None, joint: Tensor, *rest) -> tuple[Tensor, Tensor]:
    return attention(*split_joint(q, joint), *rest)


def joint_attention_backward(
    dout: Tensor,
    q: Tensor | None,
    joint: Tensor,
    out: Tensor,
    lse: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    scale: float,
    dropout_p: float,
    seed: Tensor | None,
) -> tuple[Tensor | None, Tensor]:
    djoint, dq = joint.new_empty(joint.shape), None if q is None else q.new_empty(q.shape)
    inputs, gradients = split_joint(q, joint), split_joint(dq, djoint)
    _write_gradients(dout, *inputs, *gradients, out, lse, cu_seqlens_q, cu_seqlens_k, scale, dropout_p, seed)
    return dq, djoint
