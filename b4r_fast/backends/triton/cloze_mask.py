"""Hide items for the Cloze task: token t has a random word, and is hidden where that is below the
threshold or the smallest of its sequence; a sequence whose own word is below the threshold of
last_only hides its last item alone; padding, 0, never is. docs/cloze_mask.md.

values, inputs, labels: (T,) int64. A program a sequence: one walk finds the smallest word, the
second draws them again and writes. 8 bytes read and 16 written a token, two calls of Philox, some
70 integer operations each: on an H100 the bytes take as long.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..labels import IGNORED
from ..reference.cloze_mask import SEQUENCES, TOKENS
from .philox import random_words

BLOCK = 256
_TOKENS, _SEQUENCES, _IGNORED = tl.constexpr(TOKENS), tl.constexpr(SEQUENCES), tl.constexpr(IGNORED)


@triton.jit
def _kernel(
    p_values, p_cu, p_inputs, p_labels, p_seed, threshold, last_threshold, mask_id,
    BLOCK: tl.constexpr,
):  # fmt: skip
    sequence, seed = tl.program_id(0), tl.load(p_seed)
    begin, end = tl.load(p_cu + sequence), tl.load(p_cu + sequence + 1)
    smallest = tl.full((BLOCK,), 0xFFFFFFFF, tl.int64)
    for start in range(begin, end, BLOCK):
        tokens = start + tl.arange(0, BLOCK)
        word = random_words(seed, tokens, _TOKENS)
        smallest = tl.minimum(smallest, tl.where(tokens < end, word, 0xFFFFFFFF))
    least = tl.min(smallest, 0)
    last_only = (
        random_words(seed, sequence + tl.zeros((BLOCK,), tl.int32), _SEQUENCES) < last_threshold
    )
    for start in range(begin, end, BLOCK):
        tokens = start + tl.arange(0, BLOCK)
        word = random_words(seed, tokens, _TOKENS)
        value = tl.load(p_values + tokens, tokens < end, other=0)
        hidden = tl.where(last_only, tokens == end - 1, (word < threshold) | (word == least)) & (
            value != 0
        )
        tl.store(p_inputs + tokens, tl.where(hidden, mask_id, value), tokens < end)
        tl.store(p_labels + tokens, tl.where(hidden, value, _IGNORED), tokens < end)


def cloze_mask(
    values: Tensor,
    cu_seqlens: Tensor,
    mask_prob: float,
    last_only: float,
    mask_id: int,
    seed: Tensor,
) -> tuple[Tensor, Tensor]:
    values, cu_seqlens = values.contiguous(), cu_seqlens.contiguous()
    inputs, labels = torch.empty_like(values), torch.empty_like(values)
    sequences = cu_seqlens.shape[0] - 1
    if sequences:
        thresholds = round(mask_prob * 2**32), round(last_only * 2**32)
        _kernel[(sequences,)](
            values, cu_seqlens, inputs, labels, seed, *thresholds, mask_id, BLOCK=BLOCK
        )
    return inputs, labels


OPERATORS = (cloze_mask,)
