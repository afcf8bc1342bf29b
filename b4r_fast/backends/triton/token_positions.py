"""Token t of sequence b has place t - cu_seqlens[b]. A program a sequence; 8 bytes
written a token.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 256


@triton.jit
def _kernel(p_cu, p_positions, BLOCK: tl.constexpr):
    sequence = tl.program_id(0)
    begin, end = tl.load(p_cu + sequence), tl.load(p_cu + sequence + 1)
    for start in range(begin, end, BLOCK):
        tokens = start + tl.arange(0, BLOCK)
        tl.store(p_positions + tokens, (tokens - begin).to(tl.int64), tokens < end)


def token_positions(cu_seqlens: Tensor, tokens: int) -> Tensor:
    positions = cu_seqlens.new_empty(tokens, dtype=torch.int64)
    if tokens:
        _kernel[(cu_seqlens.shape[0] - 1,)](cu_seqlens.contiguous(), positions, BLOCK=BLOCK)
    return positions


OPERATORS = (token_positions,)
