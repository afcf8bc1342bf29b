"""rank_i = 1 + the number of items j, not the target and not excluded, with z_ij >= z_it, z_ij =
h_i . C_j + b_j. docs/rank.md.

hidden: (N, d). items: (V, d). A program for a block of rows and a split of the items computes the
targets' logits, then walks over its items and counts. Excluded items are counted apart, a program a
row, and taken off. Every logit comes out of a product of blocks of one shape, whose sums have one
order, so equal items have equal logits. Counts are integers, so the order of their sum does not
matter. 2 N V d operations; C is read once for every block of rows.
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
from .rows import bias_or_zeros, block_columns, load_rows


@triton.jit
def _logits(h, p_items, p_bias, item, m_item, d, BLOCK_D: tl.constexpr):
    """z of all rows of h with some items, -inf where it is not a number."""
    k = tl.arange(0, BLOCK_D)
    c = tl.load(
        p_items + item[:, None] * d + k[None, :], m_item[:, None] & (k[None, :] < d), other=0.0
    )
    z = tl.dot(h, tl.trans(c), input_precision="ieee")
    z += tl.load(p_bias + item, m_item, other=0.0).to(tl.float32)[None, :]
    return tl.where(z > float("-inf"), z, float("-inf"))


@triton.jit
def _target_logits(
    h, p_items, p_bias, target, m_rows, d, BLOCK: tl.constexpr, BLOCK_D: tl.constexpr
):
    """z of every row with its own target: the diagonal."""
    z = _logits(h, p_items, p_bias, target, m_rows, d, BLOCK_D)
    place = tl.arange(0, BLOCK)
    return tl.sum(tl.where(place[:, None] == place[None, :], z, 0.0), 1)


@triton.jit(do_not_specialize=("N", "splits", "items_of_split"))
def _count_kernel(
    p_hidden, p_items, p_bias, p_targets, p_counts, N, V, d, splits, items_of_split,
    BLOCK: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    split, rows = (
        tl.program_id(0) % splits,
        tl.program_id(0) // splits * BLOCK + tl.arange(0, BLOCK),
    )
    h = load_rows(p_hidden, rows, N, d, BLOCK_D)
    target = tl.load(p_targets + rows, rows < N, other=0)
    z_target = _target_logits(h, p_items, p_bias, target, rows < N, d, BLOCK, BLOCK_D)
    count = tl.zeros((BLOCK,), tl.int64)
    begin = split * items_of_split
    end = tl.minimum(begin + items_of_split, V)
    for start in range(begin, end, BLOCK):
        item = start + tl.arange(0, BLOCK).to(tl.int64)
        z = _logits(h, p_items, p_bias, item, item < end, d, BLOCK_D)
        counts = (
            (item[None, :] < end) & (item[None, :] != target[:, None]) & (z >= z_target[:, None])
        )
        count += tl.sum(counts.to(tl.int64), 1)
    tl.store(p_counts + split.to(tl.int64) * N + rows, count, rows < N)


@triton.jit(do_not_specialize=("N",))
def _excluded_kernel(
    p_hidden, p_items, p_bias, p_targets, p_exclude, p_first, p_offsets, p_counts, N, d,
    BLOCK: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """How many of what one row excludes the count has counted. p_first: where an item stands in its
    row's list for the first time.
    """
    row = tl.program_id(0)
    rows = row + tl.zeros((BLOCK,), tl.int32)  # the row, over and over: a product of the one shape
    h, target = load_rows(p_hidden, rows, N, d, BLOCK_D), tl.load(p_targets + rows)
    z_target = _target_logits(h, p_items, p_bias, target, rows < N, d, BLOCK, BLOCK_D)
    count = tl.zeros((BLOCK,), tl.int64)
    begin, end = tl.load(p_offsets + row), tl.load(p_offsets + row + 1)
    for start in range(begin, end, BLOCK):
        place = start + tl.arange(0, BLOCK)
        item = tl.load(p_exclude + place, place < end, other=0)
        first = tl.load(p_first + place, place < end, other=0) != 0
        z = _logits(h, p_items, p_bias, item, place < end, d, BLOCK_D)
        counts = first[None, :] & (item[None, :] != target[:, None]) & (z >= z_target[:, None])
        count += tl.sum(counts.to(tl.int64), 1)
    tl.store(p_counts + row, tl.max(count, 0))


def _first_places(exclude: Tensor, offsets: Tensor, num_items: int) -> tuple[Tensor, Tensor]:
    """The lists sorted within their rows, and which of their entries are no repetition."""
    keys = sorted_lists(exclude, offsets, num_items)
    first = torch.ones_like(keys, dtype=torch.int8)
    first[1:] = keys[1:] != keys[:-1]
    return keys % num_items, first


@held_if(lambda hidden, *_: tiles.fits("rank", hidden.shape[1], hidden.dtype))
def rank(
    hidden: Tensor,
    items: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    exclude: Tensor | None,
    exclude_offsets: Tensor | None,
) -> Tensor:
    hidden, items, targets = hidden.contiguous(), items.contiguous(), targets.contiguous()
    (n, d), v = hidden.shape, items.shape[0]
    tile = tiles.tile("rank", d, hidden.dtype)
    block = tile.rows  # and as many items
    row_blocks, item_blocks = triton.cdiv(n, block), triton.cdiv(v, block)
    splits, blocks_of_split = cut(item_blocks, row_blocks)
    counts = targets.new_empty((splits, n))
    constants = {"BLOCK": block, "BLOCK_D": block_columns(d)} | tile.options
    inputs = (hidden, items, bias_or_zeros(bias, items), targets)
    if n == 0:
        return torch.empty_like(targets)
    _count_kernel[(row_blocks * splits,)](
        *inputs, counts, n, v, d, splits, blocks_of_split * block, **constants
    )
    ranks = counts.sum(0) + 1
    if exclude is not None and exclude_offsets is not None and exclude.shape[0]:
        excluded = torch.empty_like(targets)
        listed, first = _first_places(exclude, exclude_offsets, v)
        _excluded_kernel[(n,)](
            *inputs, listed, first, exclude_offsets.contiguous(), excluded, n, d, **constants
        )
        ranks -= excluded
    return ranks


OPERATORS = (rank,)
