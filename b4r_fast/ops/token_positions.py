"""The place of every token of packed sequences in its own."""

from __future__ import annotations

import torch
from torch import Tensor

from .checks import check_offsets, check_tensors
from .registration import define


def _fake(cu_seqlens, tokens):
    return cu_seqlens.new_empty(tokens, dtype=torch.int64)


def _check_values(cu_seqlens, tokens):
    check_offsets("cu_seqlens", cu_seqlens, tokens)


_op = define(
    "token_positions(Tensor cu_seqlens, SymInt tokens) -> Tensor", _fake, check_values=_check_values
)


def token_positions(cu_seqlens: Tensor, tokens: int) -> Tensor:
    """(tokens,) int64: the place of each token in its sequence, from 0.

    cu_seqlens: (batch + 1,) int32, sequence b owns tokens cu_seqlens[b] to cu_seqlens[b + 1] - 1.
    tokens: how many there are, a number, as reading the last offset from a GPU would wait for it.
    Raises ValueError for a wrong shape, dtype or offsets.
    """
    check_tensors(torch.int32, {}, cu_seqlens=(cu_seqlens, "batch+1"))
    return _op(cu_seqlens, tokens)
