"""y = Dropout(n weight + bias) with z = items[values] + position_table[positions], n = (z - mean)
rstd for each row of D numbers.

Backward, with dn = dy factor and g = dn weight: dz = rstd (g - avg(g) - n avg(g n)), ditems[v] and
dposition_table[p] the sums of dz over the tokens of item v and of position p, dweight = sum of dn
n, dbias = sum of dn.

values, positions: (T,) int64. items: (V, D), position_table: (P, D), contiguous. y, dy: (T, D).
mean, rstd: (T,) fp32. Statistics and all gradients in fp32. dz goes through memory once, in fp32,
and is added up by the rows of both tables, sorted: no atomics. Bytes a number of (T, D), fp32:
forward 12, backward 12, and 12 more for the tables; the memory is the limit.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..devices import PROGRAMS
from .layer_norm import FORWARD_ELEMENTS, backward_blocks, blocks, gradient, normalise
from .philox import dropout_arguments, dropout_factors
from .rows import block_offsets, load_rows, segment_sum, store_rows, sum_partials


@triton.jit
def _embedded(p_values, p_positions, p_items, p_positions_table, rows, T, D, BLOCK_D: tl.constexpr):
    """z of a block of tokens, fp32, zeros around."""
    columns = tl.arange(0, BLOCK_D)
    m_block = (rows[:, None] < T) & (columns[None, :] < D)
    value, position = (
        tl.load(p_values + rows, rows < T, other=0),
        tl.load(p_positions + rows, rows < T, other=0),
    )
    item = tl.load(p_items + value[:, None] * D + columns[None, :], m_block, other=0.0).to(
        tl.float32
    )
    return item + tl.load(
        p_positions_table + position[:, None] * D + columns[None, :], m_block, other=0.0
    ).to(tl.float32)


@triton.jit(do_not_specialize=("T",))
def _forward_kernel(
    p_values, p_positions, p_items, p_positions_table, p_weight, p_bias, p_y, p_mean, p_rstd,
    p_seed, T, D, eps, threshold, scale,
    ROWS: tl.constexpr, BLOCK_D: tl.constexpr, DROPOUT: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    z = _embedded(p_values, p_positions, p_items, p_positions_table, rows, T, D, BLOCK_D)
    y, mean, rstd = normalise(z, p_weight, p_bias, D, eps, BLOCK_D)
    if DROPOUT:
        y *= dropout_factors(
            tl.load(p_seed), threshold, scale, rows[:, None], tl.arange(0, BLOCK_D // 8)[None, :], 0
        )
    store_rows(p_y, y, rows, T, D, BLOCK_D)
    tl.store(p_mean + rows, mean, rows < T)
    tl.store(p_rstd + rows, rstd, rows < T)


@triton.jit(do_not_specialize=("T", "num_rows"))
def _backward_kernel(
    p_dy, p_values, p_positions, p_items, p_positions_table, p_weight, p_mean, p_rstd,
    p_value_rows, p_dz, p_rows, p_partials, p_seed,
    T, D, num_rows, threshold, scale, ROWS: tl.constexpr, BLOCK_D: tl.constexpr,
    DROPOUT: tl.constexpr,
):  # fmt: skip
    """rows (2 T,): where each token's dz belongs among the rows of one table after the other."""
    program, columns = tl.program_id(0), tl.arange(0, BLOCK_D)
    weight = tl.load(p_weight + columns, columns < D, other=0.0).to(tl.float32)
    dweight = tl.zeros((BLOCK_D,), tl.float32)
    dbias = tl.zeros((BLOCK_D,), tl.float32)
    for block in range(program, tl.cdiv(T, ROWS), tl.num_programs(0)):
        rows = block * ROWS + tl.arange(0, ROWS)
        z = _embedded(p_values, p_positions, p_items, p_positions_table, rows, T, D, BLOCK_D)
        dy = load_rows(p_dy, rows, T, D, BLOCK_D).to(tl.float32)
        if DROPOUT:
            dy *= dropout_factors(
                tl.load(p_seed),
                threshold,
                scale,
                rows[:, None],
                tl.arange(0, BLOCK_D // 8)[None, :],
                0,
            )
        mean = tl.load(p_mean + rows, rows < T, other=0.0)
        rstd = tl.load(p_rstd + rows, rows < T, other=0.0)
        _, m_block = block_offsets(rows, T, D, BLOCK_D)
        dz, n = gradient(dy, z, weight, mean, rstd, m_block, D)
        store_rows(p_dz, dz, rows, T, D, BLOCK_D)
        value_row, position = (
            tl.load(p_value_rows + rows, rows < T, other=0),
            tl.load(p_positions + rows, rows < T, other=0),
        )
        tl.store(p_rows + rows, value_row.to(p_rows.dtype.element_ty), rows < T)
        tl.store(p_rows + T + rows, (num_rows + position).to(p_rows.dtype.element_ty), rows < T)
        dweight += tl.sum(dy * n, 0)
        dbias += tl.sum(dy, 0)
    p_partials += program.to(tl.int64) * (2 * D) + columns
    tl.store(p_partials, dweight, columns < D)
    tl.store(p_partials + D, dbias, columns < D)


def embedding_layer_norm(
    values: Tensor,
    positions: Tensor,
    items: Tensor,
    position_table: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    dropout_p: float,
    seed: Tensor | None,
    sparse: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    inputs = tuple(t.contiguous() for t in (values, positions, items, position_table, weight, bias))
    tokens, d = values.shape[0], items.shape[1]
    y = items.new_empty(tokens, d)
    mean, rstd = (items.new_empty(tokens, dtype=torch.float32) for _ in range(2))
    seed, threshold, scale, drops = dropout_arguments(dropout_p, seed, items)
    extents = blocks(d, FORWARD_ELEMENTS)
    if tokens:
        grid = (triton.cdiv(tokens, extents["ROWS"]),)
        _forward_kernel[grid](
            *inputs, y, mean, rstd, seed, tokens, d, eps, threshold, scale, **extents, DROPOUT=drops
        )
    return y, mean, rstd


def embedding_layer_norm_backward(
    dy: Tensor,
    values: Tensor,
    positions: Tensor,
    items: Tensor,
    position_table: Tensor,
    weight: Tensor,
    mean: Tensor,
    rstd: Tensor,
    dropout_p: float,
    seed: Tensor | None,
    value_rows: Tensor,
    num_rows: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    inputs = tuple(
        t.contiguous()
        for t in (dy, values, positions, items, position_table, weight, mean, rstd, value_rows)
    )
    tokens, d = values.shape[0], items.shape[1]
    both_tables = num_rows + position_table.shape[0]
    dz = items.new_empty((tokens, d), dtype=torch.float32)
    seed, threshold, scale, drops = dropout_arguments(dropout_p, seed, items)
    extents = backward_blocks(d)
    programs = min(PROGRAMS, triton.cdiv(tokens, extents["ROWS"]))
    partials = items.new_empty((programs, 2 * d), dtype=torch.float32)
    # Half as wide, half the sorting.
    rows = values.new_empty(2 * tokens, dtype=torch.int32 if both_tables < 2**31 else torch.int64)
    if tokens:
        _backward_kernel[(programs,)](
            *inputs, dz, rows, partials, seed, tokens, d, num_rows, threshold, scale, **extents,
            DROPOUT=drops
        )  # fmt: skip
    tables = segment_sum(dz, rows.sort(stable=True), both_tables, items.dtype)
    dweight, dbias = sum_partials(partials, dtype=weight.dtype).view(2, d)
    return tables[:num_rows], tables[num_rows:], dweight, dbias


OPERATORS = (embedding_layer_norm, embedding_layer_norm_backward)
