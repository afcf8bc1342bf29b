"""Glue to csrc/cpu/attention.cpp, which has the maths."""

from __future__ import annotations

import torch
from torch import Tensor

from .instruction_sets import addresses, native, native_dropout


def _heads(x: Tensor) -> Tensor:
    """(tokens, H, D) whose heads lie one after the other; the tokens may be apart, as in a slice of a joint projection."""
    return x if x.stride()[1:] == (x.shape[2], 1) else x.contiguous()


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
    q, k, v = _heads(q), _heads(k), _heads(v)
    cu_seqlens_q, cu_seqlens_k = cu_seqlens_q.contiguous(), cu_seqlens_k.contiguous()
    rows, heads, d = q.shape
    out, lse = q.new_empty(rows, heads, d), q.new_empty(heads, rows)
    native.attention(
        *(part for x in (q, k, v) for part in (x.data_ptr(), x.stride(0))),
        *addresses(out, lse, cu_seqlens_q, cu_seqlens_k),
        len(cu_seqlens_q) - 1,
        heads,
        d,
        scale,
        *native_dropout(dropout_p, seed),
        torch.get_num_threads(),
    )
    return out, lse


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
    dout, q, k, v = dout.contiguous(), _heads(q), _heads(k), _heads(v)
    cu_seqlens_q, cu_seqlens_k = cu_seqlens_q.contiguous(), cu_seqlens_k.contiguous()
    dq, dk, dv = (x.new_empty(x.shape) for x in (q, k, v))
    native.attention_backward(
        dout.data_ptr(),
        *(part for x in (q, k, v) for part in (x.data_ptr(), x.stride(0))),
        *addresses(out, lse, dq, dk, dv, cu_seqlens_q, cu_seqlens_k),
        len(cu_seqlens_q) - 1,
        *q.shape[1:],
        scale,
        *native_dropout(dropout_p, seed),
        torch.get_num_threads(),
    )
    return dq, dk, dv
