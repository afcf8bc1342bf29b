"""Attention: ours on packed tokens, SDPA on the padded batch with a mask. Padding and unpadding are
not timed.

On a GPU also those that attend within packed sequences; FlexAttention by a mask of which tokens are
of one sequence.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from b4r_fast import ops

from .. import operations
from ..batch import Batch
from .op import Op

LIMIT = "fma"


def count(work, batch: Batch) -> dict[str, int]:
    return operations.attention(batch.lengths, batch.lengths, work.hidden_size, work.num_heads)


def _qkv(work, batch: Batch):
    return torch.randn(
        3, batch.values.numel(), work.num_heads, work.hidden_size // work.num_heads
    ).unbind()


def b4r_fast(work, *, dropout: float) -> Op:
    def make(batch: Batch):
        return lambda q, k, v: ops.attention(
            q, k, v, batch.cu_seqlens, batch.longest, dropout_p=dropout
        ), _qkv(work, batch)

    return Op(make)


def sdpa(work, *, dropout: float) -> Op:
    def make(batch: Batch):
        sequence, position = batch.sequence_of_token(), batch.positions()
        real = torch.zeros(len(batch), 1, 1, batch.longest, dtype=torch.bool)
        real[sequence, 0, 0, position] = True

        def pad(x):
            padded = x.new_zeros(len(batch), work.num_heads, batch.longest, x.shape[2])
            padded[sequence, :, position] = x
            return padded

        inputs = tuple(pad(x) for x in _qkv(work, batch))
        return lambda q, k, v: F.scaled_dot_product_attention(
            q, k, v, attn_mask=real, dropout_p=dropout
        ), inputs

    return Op(
        make, canonical=lambda batch, out: out[batch.sequence_of_token(), :, batch.positions()]
    )


def flash_attention(work, *, dropout: float) -> Op:
    from flash_attn import flash_attn_varlen_func

    def make(batch: Batch):
        sequences = (batch.cu_seqlens, batch.cu_seqlens, batch.longest, batch.longest)
        return lambda q, k, v: flash_attn_varlen_func(q, k, v, *sequences, dropout_p=dropout), _qkv(
            work, batch
        )

    return Op(make, package="flash-attn")


def varlen_attention(work, *, dropout: float) -> Op:
    from torch.nn.attention.varlen import varlen_attn

    _refuse(dropout)

    def make(batch: Batch):
        sequences = (batch.cu_seqlens, batch.cu_seqlens, batch.longest, batch.longest)
        return lambda q, k, v: varlen_attn(q, k, v, *sequences), _qkv(work, batch)

    return Op(make)


def flex_attention(work, *, dropout: float) -> Op:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    _refuse(dropout)
    attend = torch.compile(flex_attention)

    def make(batch: Batch):
        tokens, sequence = batch.values.numel(), batch.sequence_of_token()

        def of_one_sequence(b, h, query, key):
            return sequence[query] == sequence[key]

        # Compiled, for else it makes a matrix of tokens x tokens first.
        mask = torch.compile(create_block_mask)(
            of_one_sequence, None, None, tokens, tokens, device=sequence.device
        )
        inputs = tuple(x.transpose(0, 1)[None].contiguous() for x in _qkv(work, batch))
        return lambda q, k, v: attend(q, k, v, block_mask=mask), inputs

    return Op(make, static_shapes=True, canonical=lambda batch, out: out[0].transpose(0, 1))


def _refuse(dropout: float) -> None:
    if dropout:
        raise ValueError("it has no dropout")


CONTENDERS = {"b4r_fast": b4r_fast, "SDPA, padded": sdpa}
ON_GPU = {
    "FlashAttention, varlen": flash_attention,
    "FlexAttention, compiled": flex_attention,
    "varlen_attn": varlen_attention,
}
