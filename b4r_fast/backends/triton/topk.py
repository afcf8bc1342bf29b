"""The k best items of each row by z_ij = h_i . C_j + b_j, best first, ties by the lower item
row. docs/topk.md.

hidden: (N, d). items: (V, d). A score and its item are one int64, the score's bits in an order of
integers above the item's complement, so that the larger is the better and no two are equal: however
candidates are joined, the answer is one.

A program for a block of rows and a split of the items walks over its items and keeps the k best of
a row, in no order. A block of items in which none is better than its row's worst costs a
comparison; in others, excluded items are looked up, and the best of each row takes the place of its
worst until none is better. torch joins the splits. Bytes beside h and C: 8 k for a row and split:
nothing grows with N V. 2 N V d operations; C is read once for every block of rows.

More than KEPT[-1] best, and lists of candidates, are left to the next backend: the reference sorts
a block of logits.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .. import held_if
from ..devices import cut
from ..reference.topk import sorted_lists
from . import tiles
from .rows import bias_or_zeros, block_columns, load_rows, lower_bound

KEPT = (16, 128)  # places for the best of a row: few forms, so that all can be compiled ahead
LOWEST, HIGHEST = tl.constexpr(-(2**63)), tl.constexpr(2**63 - 1)


@triton.jit
def _keys(z, item):
    """Scores and items as integers: the larger the better."""
    z += 0.0  # -0 is 0
    bits = z.to(tl.int32, bitcast=True)
    ordered = tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    keys = (ordered.to(tl.int64) << 32) | (0xFFFFFFFF - item)[None, :]
    return tl.where(z > float("-inf"), keys, LOWEST)  # not where z is not a number


@triton.jit
def _listed(p_exclude, first, end, item, steps):
    """Which items (rows, items) stand in the sorted list of their row, from first (rows,) to end
    (rows,).
    """
    none = (item * 0)[None, :]
    low = lower_bound(p_exclude, item[None, :], first[:, None] + none, end[:, None] + none, steps)
    return (low < end[:, None]) & (
        tl.load(p_exclude + low, low < end[:, None], other=-1) == item[None, :]
    )


@triton.jit(do_not_specialize=("N", "splits", "items_of_split", "steps", "k"))
def _best_kernel(
    p_hidden, p_items, p_bias, p_exclude, p_offsets, p_best,  # pointers
    N, V, d, splits, items_of_split, steps, k,  # sizes
    ROWS: tl.constexpr, ITEMS: tl.constexpr, KEPT: tl.constexpr, BLOCK_D: tl.constexpr,
    EXCLUDE: tl.constexpr,
):  # fmt: skip
    split, rows = tl.program_id(0) % splits, tl.program_id(0) // splits * ROWS + tl.arange(0, ROWS)
    h = load_rows(p_hidden, rows, N, d, BLOCK_D)
    if EXCLUDE:
        first = tl.load(p_offsets + rows, rows < N, other=0).to(tl.int64)
        end = tl.load(p_offsets + rows + 1, rows < N, other=0).to(tl.int64)
    # Below all scores, and distinct, as one of them at a time gives way; beyond k above all.
    slot = tl.arange(0, KEPT).to(tl.int64)
    best = tl.zeros((ROWS, KEPT), tl.int64) + tl.where(slot < k, LOWEST + slot, HIGHEST)[None, :]
    worst = tl.min(best, 1)
    begin = split * items_of_split
    last = tl.minimum(begin + items_of_split, V)
    for start in range(begin, last, ITEMS):
        item = start + tl.arange(0, ITEMS).to(tl.int64)
        z = tl.dot(h, tl.trans(load_rows(p_items, item, last, d, BLOCK_D)), input_precision="ieee")
        z += tl.load(p_bias + item, item < last, other=0.0).to(tl.float32)[None, :]
        keys = tl.where((item < last)[None, :] & (rows < N)[:, None], _keys(z, item), LOWEST)
        candidate = tl.max(keys, 1)
        if tl.max((candidate > worst).to(tl.int32), 0) > 0:
            if EXCLUDE:
                keys = tl.where(_listed(p_exclude, first, end, item, steps), LOWEST, keys)
                candidate = tl.max(keys, 1)
            while tl.max((candidate > worst).to(tl.int32), 0) > 0:
                gives_way = (best == worst[:, None]) & (candidate > worst)[:, None]
                best = tl.where(gives_way, candidate[:, None], best)
                keys = tl.where(keys == candidate[:, None], LOWEST, keys)
                worst, candidate = tl.min(best, 1), tl.max(keys, 1)
    o_best = (rows.to(tl.int64) * splits + split)[:, None] * k + slot[None, :]
    tl.store(p_best + o_best, best, (rows < N)[:, None] & (slot < k)[None, :])


def _has_kernel(
    hidden: Tensor,
    items: Tensor,
    bias: Tensor | None,
    k: int,
    exclude,
    exclude_offsets,
    candidates: Tensor | None,
) -> bool:
    return (
        candidates is None and k <= KEPT[-1] and tiles.fits("topk", hidden.shape[1], hidden.dtype)
    )


@held_if(_has_kernel)
def topk(
    hidden: Tensor,
    items: Tensor,
    bias: Tensor | None,
    k: int,
    exclude: Tensor | None,
    exclude_offsets: Tensor | None,
    candidates: Tensor | None,
) -> tuple[Tensor, Tensor]:
    (n, d), v = hidden.shape, items.shape[0]
    hidden, items = hidden.contiguous(), items.contiguous()
    block = tiles.tile("topk", d, hidden.dtype)
    row_blocks = triton.cdiv(n, block.rows)
    splits, blocks_of_split = cut(triton.cdiv(v, block.columns), row_blocks)
    best = torch.empty((n, splits * k), dtype=torch.int64, device=hidden.device)
    lists, offsets, steps = best, best, 0
    if exclude is not None and exclude_offsets is not None and exclude.shape[0]:
        lists, offsets = sorted_lists(exclude, exclude_offsets, v) % v, exclude_offsets.contiguous()
        steps = min(exclude.shape[0], v).bit_length()
    if n:
        _best_kernel[(row_blocks * splits,)](
            hidden, items, bias_or_zeros(bias, items), lists, offsets, best, n, v, d, splits,
            blocks_of_split * block.columns, steps, k, ROWS=block.rows, ITEMS=block.columns,
            BLOCK_D=block_columns(d),
            KEPT=next(most for most in KEPT if k <= most), EXCLUDE=steps > 0, **block.options,
        )  # fmt: skip
    keys = best.topk(k, dim=1)[0]
    found = keys >= LOWEST.value + KEPT[-1]
    ordered = (keys >> 32).int()
    scores = torch.where(ordered < 0, ordered ^ 0x7FFFFFFF, ordered).view(torch.float32)
    rows = torch.where(found, 0xFFFFFFFF - (keys & 0xFFFFFFFF), -1)
    return torch.where(found, scores, -torch.inf).to(hidden.dtype), rows


OPERATORS = (topk,)
