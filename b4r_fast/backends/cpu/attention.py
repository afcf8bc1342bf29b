"""Glue to csrc/cpu/attention.cpp, which has the maths."""

from __future__ import annotations

import torch
from torch import Tensor

from ..addresses import addresses, contiguous
from ..packing import Packing
from ..reference.attention import heads_together
from .instruction_sets import native, native_dropout


def _places(*tensors: Tensor) -> list[int]:
    """Address and floats from one token to the next, of each."""
    return [part for x in tensors for part in (x.data_ptr(), x.stride(0))]


def _numbers(q: Tensor, packing: Packing) -> tuple:
    """What both kernels take at the end."""
    dropout = native_dropout(packing.dropout_p, packing.seed)
    return (
        len(packing.cu_seqlens_q) - 1,
        *q.shape[1:],
        packing.scale,
        *dropout,
        torch.get_num_threads(),
    )


def attention(q: Tensor, k: Tensor, v: Tensor, *packing) -> tuple[Tensor, Tensor]:
    q, k, v, packing = heads_together(q), heads_together(k), heads_together(v), Packing(*packing)
    offsets = contiguous(packing.cu_seqlens_q, packing.cu_seqlens_k)
    out, lse = q.new_empty(q.shape), q.new_empty(q.shape[1], q.shape[0])
    native.attention(*_places(q, k, v), *addresses(out, lse, *offsets), *_numbers(q, packing))
    return out, lse


def attention_gradients(
    dout: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    dq: Tensor,
    dk: Tensor,
    dv: Tensor,
    *packing,
) -> None:
    dout, q, k, v = dout.contiguous(), heads_together(q), heads_together(k), heads_together(v)
    packing = Packing(*packing)
    others = contiguous(out, lse, packing.cu_seqlens_q, packing.cu_seqlens_k)
    native.attention_backward(
        dout.data_ptr(), *_places(q, k, v, dq, dk, dv), *addresses(*others), *_numbers(q, packing)
    )


OPERATORS = (attention, attention_gradients)
