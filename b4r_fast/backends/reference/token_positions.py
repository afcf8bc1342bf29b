"""Token t of sequence b has place t - cu_seqlens[b]."""

from __future__ import annotations

import torch
from torch import Tensor


def token_positions(cu_seqlens: Tensor, tokens: int) -> Tensor:
    starts = torch.repeat_interleave(cu_seqlens[:-1].long(), cu_seqlens.diff(), output_size=tokens)
    return torch.arange(tokens, device=cu_seqlens.device) - starts


OPERATORS = (token_positions,)
