"""Item rows drawn with replacement from [0, V): uniform, log-uniform, or proportional to counts.
docs/sample_negatives.md.

Draw n is made of words 2 (n mod 2) and 2 (n mod 2) + 1 of Philox call n div 2. Integers, and
doubles each rounded on its own (no fused multiply-add), so that every backend draws the same rows.
counts are searched for in their running sums. A draw writes 8 bytes and has a call of Philox, some
70 integer operations, to itself; by popularity it reads the log2 V running sums on the way to its
row, from L2; log-uniform it takes 40 operations in fp64, of which GPUs for graphics have one unit
to 64 of fp32.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..reference.sample_negatives import EXP2_TAYLOR, with_log_q
from .philox import random_pairs
from .rows import lower_bound

BLOCK = 256
_TAYLOR = tl.constexpr(EXP2_TAYLOR)


@triton.jit(do_not_specialize=("count",))
def _uniform_kernel(p_rows, p_seed, count, total, BLOCK: tl.constexpr):
    draws = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    low, high = random_pairs(tl.load(p_seed), draws)
    tl.store(p_rows + draws, ((high << 31) | (low >> 1)) % total, draws < count)


@triton.jit(do_not_specialize=("count",))
def _popularity_kernel(p_rows, p_cumulative, p_seed, count, V, steps, BLOCK: tl.constexpr):
    """The first row whose running sum is above the number drawn."""
    draws = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    low, high = random_pairs(tl.load(p_seed), draws)
    drawn = ((high << 31) | (low >> 1)) % tl.load(p_cumulative + V - 1)
    row = lower_bound(p_cumulative, drawn + 1, drawn * 0, drawn * 0 + V - 1, steps)
    tl.store(p_rows + draws, row, draws < count)


@triton.jit(do_not_specialize=("count",))
def _log_uniform_kernel(p_rows, p_seed, p_log2, count, V, BLOCK: tl.constexpr):
    draws = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    low, high = random_pairs(tl.load(p_seed), draws)
    u = ((high << 21) | (low >> 11)).to(tl.float64) * 1.1102230246251565e-16
    exponent = u * tl.load(p_log2)
    whole = tl.floor(exponent)
    fraction = exponent - whole
    power = tl.full((BLOCK,), _TAYLOR[13], tl.float64)
    for n in tl.static_range(1, 14):
        power = power * fraction + _TAYLOR[13 - n]
    # 2^whole from its bits.
    scale = ((whole.to(tl.int64) + 1023) << 52).to(tl.float64, bitcast=True)
    row = tl.floor(power * scale).to(tl.int64) - 1
    tl.store(p_rows + draws, tl.minimum(tl.maximum(row, 0), V - 1), draws < count)


def sample_negatives(
    shape: list[int], num_items: int, sampler: str, counts: Tensor | None, seed: Tensor
) -> tuple[Tensor, Tensor]:
    count = math.prod(shape)
    rows = torch.empty(shape, dtype=torch.int64, device=seed.device)
    grid = (triton.cdiv(count, BLOCK),)
    if sampler == "log_uniform":
        # A double: as an argument of the kernel it would be an fp32.
        log2 = torch.full((), math.log2(num_items + 1), dtype=torch.float64, device=seed.device)
        _log_uniform_kernel[grid](
            rows, seed, log2, count, num_items, BLOCK=BLOCK, enable_fp_fusion=False
        )
    elif counts is None:
        _uniform_kernel[grid](rows, seed, count, num_items, BLOCK=BLOCK)
    else:
        _popularity_kernel[grid](
            rows, counts.cumsum(0), seed, count, num_items, num_items.bit_length() + 1, BLOCK=BLOCK
        )
    return with_log_q(rows, num_items, sampler, counts)


OPERATORS = (sample_negatives,)
