"""Hide items for the Cloze task (paper, section 3.6): [MASK] takes their place, labels hold them.
docs/cloze_mask.md.

Token t has a random word r_t. It is hidden when r_t < threshold or r_t is the smallest of its
sequence, so that every sequence hides one at least. Sequence b has a random word too; below the
threshold of last_only, it hides its last item alone. Padding, 0, is never hidden.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..labels import IGNORED, PADDING
from .philox import random_words

TOKENS, SEQUENCES = 0, 1  # the fourth counter word


def cloze_mask(
    values: Tensor,
    cu_seqlens: Tensor,
    mask_prob: float,
    last_only: float,
    mask_id: int,
    seed: Tensor,
) -> tuple[Tensor, Tensor]:
    batch = cu_seqlens.numel() - 1
    starts, ends = cu_seqlens[:-1].long(), cu_seqlens[1:].long()
    sequence = torch.repeat_interleave(
        torch.arange(batch, device=values.device), ends - starts, output_size=values.numel()
    )
    word = random_words(seed, values.numel(), TOKENS)
    smallest = torch.full((batch,), 1 << 32, device=values.device).scatter_reduce(
        0, sequence, word, "amin"
    )
    hidden = (word < round(mask_prob * 2**32)) | (word == smallest[sequence])

    last = torch.arange(values.numel(), device=values.device) == ends[sequence] - 1
    is_last_only = random_words(seed, batch, SEQUENCES) < round(last_only * 2**32)
    hidden = torch.where(is_last_only[sequence], last, hidden) & (values != PADDING)
    return values.masked_fill(hidden, mask_id), values.masked_fill(~hidden, IGNORED)


OPERATORS = (cloze_mask,)
