"""Attention: ours on packed tokens, SDPA on the padded batch with a mask. Padding and unpadding are not timed."""

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
    return torch.randn(3, batch.values.numel(), work.num_heads, work.hidden_size // work.num_heads).unbind()


def b4r_fast(work, *, dropout: float) -> Op:
    def make(batch: Batch):
        return lambda q, k, v: ops.attention(q, k, v, batch.cu_seqlens, batch.longest, dropout_p=dropout), _qkv(work, batch)

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
        return lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=real, dropout_p=dropout), inputs

    return Op(make, canonical=lambda batch, out: out[batch.sequence_of_token(), :, batch.positions()])


CONTENDERS = {"b4r_fast": b4r_fast, "SDPA, padded": sdpa}
