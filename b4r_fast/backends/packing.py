"""The end of the arguments of every operator of attention."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Packing(NamedTuple):
    """Where the sequences lie, and what is done to their scores, in the order of the operators'
    schemas.

    cu_seqlens_q, cu_seqlens_k: (batch + 1,) int32; sequence b owns rows cu_seqlens_q[b] to
    cu_seqlens_q[b + 1] - 1 of q, and those of cu_seqlens_k of k and v. max_seqlen_q, max_seqlen_k:
    none is longer. scale: of q k^T. dropout_p, seed: of the softmax.
    """

    cu_seqlens_q: Tensor
    cu_seqlens_k: Tensor
    max_seqlen_q: int
    max_seqlen_k: int
    scale: float
    dropout_p: float
    seed: Tensor | None
