"""Blocks of rows of a matrix, and sums of rows by where they belong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

import torch
import triton
import triton.language as tl
from torch import Tensor

from .target import all_registers

# Elements of the blocks of entries that are summed at once, and entries of a chunk of a row that
# has more.
SEGMENT_ELEMENTS, CHUNK = 1024, 128
# Extents of the blocks of _sum_partials_kernel.
PARTIALS, SUM_COLUMNS = 32, 64


def block_columns(d: int) -> int:
    """Columns of a block: a power of two, and 16 at least, as tl.dot takes them."""
    return max(16, triton.next_power_of_2(d))


@triton.jit
def block_offsets(rows, R, d, BLOCK_D: tl.constexpr):
    """Offsets of (rows, BLOCK_D) in a matrix of R rows and d columns, and which of them exist."""
    columns = tl.arange(0, BLOCK_D)
    return rows[:, None].to(tl.int64) * d + columns[None, :], (rows[:, None] < R) & (
        columns[None, :] < d
    )


@triton.jit
def load_rows(p_x, rows, R, d, BLOCK_D: tl.constexpr):
    """(rows, BLOCK_D) of a matrix of R rows and d columns, zeros around."""
    o_x, m_x = block_offsets(rows, R, d, BLOCK_D)
    return tl.load(p_x + o_x, m_x, other=0.0)


@triton.jit
def store_rows(p_x, x, rows, R, d, BLOCK_D: tl.constexpr):
    o_x, m_x = block_offsets(rows, R, d, BLOCK_D)
    tl.store(p_x + o_x, x.to(p_x.dtype.element_ty), m_x)


@triton.jit
def _sum_block(
    p_partials, p_sums, block, partials, n, PARTIALS: tl.constexpr, COLUMNS: tl.constexpr
):
    columns = block * COLUMNS + tl.arange(0, COLUMNS)
    total = tl.zeros((COLUMNS,), tl.float32)
    for start in range(0, partials, PARTIALS):
        partial = start + tl.arange(0, PARTIALS)
        m_block = (partial[:, None] < partials) & (columns[None, :] < n)
        total += tl.sum(
            tl.load(
                p_partials + partial[:, None].to(tl.int64) * n + columns[None, :],
                m_block,
                other=0.0,
            ),
            0,
        )
    tl.store(p_sums + columns, total.to(p_sums.dtype.element_ty), columns < n)


@triton.jit(do_not_specialize=("partials", "more_partials"))
def _sum_partials_kernel(
    p_partials, p_more, p_sums, partials, n, more_partials, more_n, blocks, PARTIALS: tl.constexpr,
    COLUMNS: tl.constexpr,
):  # fmt: skip
    block = tl.program_id(0)
    if block < blocks:
        _sum_block(p_partials, p_sums, block, partials, n, PARTIALS, COLUMNS)
    else:
        _sum_block(p_more, p_sums + n, block - blocks, more_partials, more_n, PARTIALS, COLUMNS)


def sum_partials(partials: Tensor, more: Tensor | None = None, *, dtype: torch.dtype) -> Tensor:
    """(n + n',): the sums of partials (P, n) and of more (P', n'), fp32, over the programs that
    left them, in their order.
    """
    n, more_n = partials.shape[1], 0 if more is None else more.shape[1]
    sums = partials.new_empty(n + more_n, dtype=dtype)
    blocks, more_blocks = triton.cdiv(n, SUM_COLUMNS), triton.cdiv(more_n, SUM_COLUMNS)
    if blocks + more_blocks:
        second = partials if more is None else more
        _sum_partials_kernel[(blocks + more_blocks,)](
            partials, second, sums, partials.shape[0], n, second.shape[0], more_n, blocks,
            PARTIALS=PARTIALS, COLUMNS=SUM_COLUMNS
        )  # fmt: skip
    return sums


def split_sums(sums: Tensor, shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """Tensors of these shapes that lie one after the other."""
    ends = list(accumulate(math.prod(shape) for shape in shapes))
    return [sums[begin:end].view(shape) for begin, end, shape in zip([0, *ends], ends, shapes)]


@triton.jit
def lower_bound(p_sorted, wanted, low, high, steps):
    """Where, from low to high, the entries of a sorted list begin that are not below what is
    wanted. All have one shape.
    """
    for _ in range(0, steps):
        middle = (low + high) // 2
        below = (low < high) & (tl.load(p_sorted + middle, low < high, other=0) < wanted)
        low, high = tl.where(below, middle + 1, low), tl.where(below, high, middle)
        high = tl.maximum(low, high)
    return low


@triton.jit
def _add_entries(
    total, p_values, p_factors, p_order, begin, end, d, values, per_value, columns,
    ENTRIES: tl.constexpr, FACTORS: tl.constexpr,
):  # fmt: skip
    """total (columns,), and what the entries at places begin to end add to it."""
    for start in range(begin, end, ENTRIES):
        places = start + tl.arange(0, ENTRIES)
        entry = tl.load(p_order + places, places < end, other=0)
        m_block = (places[:, None] < end) & (columns[None, :] < d)
        x = tl.load(
            p_values + (entry // per_value % values)[:, None] * d + columns[None, :],
            m_block,
            other=0.0,
        ).to(tl.float32)
        if FACTORS:
            x *= tl.load(p_factors + entry, places < end, other=0.0)[:, None]
        total += tl.sum(x, 0)
    return total


@triton.jit(do_not_specialize=("values",))
def _chunk_sum_kernel(
    p_values, p_factors, p_ordered, p_order, p_chunks, d, values, per_value,
    BLOCK_D: tl.constexpr, ENTRIES: tl.constexpr, CHUNK: tl.constexpr, FACTORS: tl.constexpr,
):  # fmt: skip
    """chunks (entries div CHUNK, d): the sum of a chunk of entries if all belong to one row."""
    chunk, columns = tl.program_id(0).to(tl.int64), tl.arange(0, BLOCK_D)
    begin = chunk * CHUNK
    row = tl.load(p_ordered + begin)
    if (row < 0) | (row != tl.load(p_ordered + begin + CHUNK - 1)):
        return
    total = tl.zeros((BLOCK_D,), tl.float32)
    total = _add_entries(
        total, p_values, p_factors, p_order, begin, begin + CHUNK, d, values, per_value, columns,
        ENTRIES, FACTORS
    )  # fmt: skip
    tl.store(p_chunks + chunk * d + columns, total, columns < d)


@triton.jit(do_not_specialize=("entries", "steps", "values"))
def _segment_sum_kernel(
    p_values, p_factors, p_ordered, p_order, p_chunks, p_sums, d, entries, steps, values, per_value,
    BLOCK_D: tl.constexpr, ENTRIES: tl.constexpr, CHUNK: tl.constexpr, FACTORS: tl.constexpr,
):  # fmt: skip
    """A row: its entries up to the first chunk that is all its own, those chunks, and the entries
    after them.
    """
    segment, columns, two = tl.program_id(0), tl.arange(0, BLOCK_D), tl.arange(0, 2).to(tl.int64)
    bounds = lower_bound(p_ordered, segment + two, two * 0, two * 0 + entries, steps)
    begin, end = tl.min(bounds, 0), tl.max(bounds, 0)
    first, last = tl.cdiv(begin, CHUNK), end // CHUNK
    alone = tl.minimum(first * CHUNK, end)
    total = tl.zeros((BLOCK_D,), tl.float32)
    total = _add_entries(
        total, p_values, p_factors, p_order, begin, alone, d, values, per_value, columns, ENTRIES,
        FACTORS,
    )  # fmt: skip
    for start in range(first, last, ENTRIES):
        chunk = start + tl.arange(0, ENTRIES)
        m_block = (chunk[:, None] < last) & (columns[None, :] < d)
        total += tl.sum(
            tl.load(p_chunks + chunk[:, None] * d + columns[None, :], m_block, other=0.0), 0
        )
    rest = tl.maximum(last * CHUNK, alone)
    total = _add_entries(
        total, p_values, p_factors, p_order, rest, end, d, values, per_value, columns, ENTRIES,
        FACTORS,
    )  # fmt: skip
    tl.store(
        p_sums + segment.to(tl.int64) * d + columns, total.to(p_sums.dtype.element_ty), columns < d
    )


def segment_sum(
    values: Tensor,
    rows: tuple[Tensor, Tensor],
    num_rows: int,
    dtype: torch.dtype,
    *,
    factors: Tensor | None = None,
    per_value: int = 1,
) -> Tensor:
    """(num_rows, d): row r is the sum over its entries e of factors[e] values[e div per_value mod
    n].

    rows: the row that each entry belongs to, none if negative, as rows.sort(stable=True) gives them
    and their order. values: (n, d). factors: (entries,) fp32, 1 if None. No atomics, the same bits
    every time. Many entries may belong to one row, as all masked tokens do: those are first summed
    in chunks, by programs of their own.
    """
    n, d = values.shape
    ordered, order = rows
    entries = order.shape[0]
    sums = values.new_empty((num_rows, d), dtype=dtype)
    block_d = block_columns(d)
    chunks = values.new_empty((entries // CHUNK, d), dtype=torch.float32)
    factors_or_any = values if factors is None else factors
    constants = {
        "BLOCK_D": block_d,
        "ENTRIES": max(1, SEGMENT_ELEMENTS // block_d),
        "CHUNK": CHUNK,
        "FACTORS": factors is not None,
    }
    constants |= all_registers()
    if len(chunks):
        _chunk_sum_kernel[(len(chunks),)](
            values, factors_or_any, ordered, order, chunks, d, max(n, 1), per_value, **constants
        )
    if num_rows:
        _segment_sum_kernel[(num_rows,)](
            values, factors_or_any, ordered, order, chunks, sums, d, entries, entries.bit_length(),
            max(n, 1), per_value, **constants,
        )  # fmt: skip
    return sums


def bias_or_zeros(bias: Tensor | None, items: Tensor) -> Tensor:
    """(V,): reading zeros costs one part in d of reading the items, and saves a kernel half of its
    forms.
    """
    return items.new_zeros(items.shape[0]) if bias is None else bias.contiguous()
