"""Blocks of rows of a matrix, and sums of rows by where they belong."""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

# Programs that a launch should have: two for each of the 132 multiprocessors of an H100.
PROGRAMS = 264
# Elements of the blocks of _segment_sum_kernel.
SEGMENT_ELEMENTS = 1024


def block_columns(d: int) -> int:
    """Columns of a block: a power of two, and 16 at least, as tl.dot takes them."""
    return max(16, triton.next_power_of_2(d))


def cut(blocks: int, beside: int) -> tuple[int, int]:
    """In how many runs to cut some blocks, for PROGRAMS where there are `beside` programs without, and how many blocks a run has."""
    runs = max(1, min(blocks, PROGRAMS // max(beside, 1)))
    return runs, triton.cdiv(blocks, runs)


@triton.jit
def block_offsets(rows, R, d, BLOCK_D: tl.constexpr):
    """Offsets of (rows, BLOCK_D) in a matrix of R rows and d columns, and which of them exist."""
    columns = tl.arange(0, BLOCK_D)
    return rows[:, None].to(tl.int64) * d + columns[None, :], (rows[:, None] < R) & (columns[None, :] < d)


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
def _segment_sum_kernel(
    p_values, p_factors, p_order, p_starts, p_sums, d, per_value,
    BLOCK_D: tl.constexpr, ENTRIES: tl.constexpr, FACTORS: tl.constexpr,
):  # fmt: skip
    segment, columns = tl.program_id(0), tl.arange(0, BLOCK_D)
    begin, end = tl.load(p_starts + segment), tl.load(p_starts + segment + 1)
    total = tl.zeros((BLOCK_D,), tl.float32)
    for start in range(begin, end, ENTRIES):
        places = start + tl.arange(0, ENTRIES)
        entry = tl.load(p_order + places, places < end, other=0)
        m_block = (places[:, None] < end) & (columns[None, :] < d)
        x = tl.load(p_values + (entry // per_value)[:, None] * d + columns[None, :], m_block, other=0.0).to(tl.float32)
        if FACTORS:
            x *= tl.load(p_factors + entry, places < end, other=0.0)[:, None]
        total += tl.sum(x, 0)
    tl.store(p_sums + segment.to(tl.int64) * d + columns, total.to(p_sums.dtype.element_ty), columns < d)


class Segments(NamedTuple):
    """Entries sorted by the row that they belong to: entry order[starts[r]] to order[starts[r + 1] - 1] are those of row r, ascending."""

    order: Tensor
    starts: Tensor


def sort_segments(rows: Tensor, num_rows: int) -> Segments:
    """rows: (entries,) int64 below num_rows; an entry whose row is negative belongs nowhere."""
    ordered, order = rows.sort(stable=True)
    return Segments(order, torch.searchsorted(ordered, torch.arange(num_rows + 1, device=rows.device)))


def segment_sum(values: Tensor, segments: Segments, dtype: torch.dtype, *, factors: Tensor | None = None) -> Tensor:
    """(num_rows, d): row r is the sum of factors[e] values[e div m] over its entries e, where there are m entries a value.

    values: (n, d). factors: (n m,) fp32, 1 if None. Each row's are added up in their order: no atomics, the same bits every time.
    """
    n, d = values.shape
    entries, num_rows = segments.order.shape[0], segments.starts.shape[0] - 1
    sums = values.new_empty((num_rows, d), dtype=dtype)
    block_d = block_columns(d)
    if num_rows:
        _segment_sum_kernel[(num_rows,)](
            values, values if factors is None else factors, *segments, sums, d, max(1, entries // max(n, 1)),
            BLOCK_D=block_d, ENTRIES=max(1, SEGMENT_ELEMENTS // block_d), FACTORS=factors is not None,
        )  # fmt: skip
    return sums
