"""y = n weight + bias with z = x + factor sublayer, n = (z - mean) rstd, for each row of D numbers; factor is 0 or 1 / keep rate.

Backward, with g = dy weight: dz = rstd (g - avg(g) - n avg(g n)), dx = dz, dsublayer = factor dz, dweight = sum of dy n, dbias = sum of dy.

x, sublayer, y, dy, dx, dsublayer: (R, D) contiguous. mean, rstd: (R,) fp32. Statistics and weight gradients in fp32, one pass over a block
of rows held in registers. Each program of the backward walks row blocks a grid apart and writes one partial sum of the weight
gradients, which torch adds up: the same bits every time. Bytes a number, fp32: forward 12, backward 20; the memory is the limit.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..reference.philox import dropout_scale, dropout_threshold
from .philox import dropout_factors

# Elements of a block, at 128 threads: 32 a thread; half of that in the backward, which spills 270 to 430 bytes a thread with 32.
FORWARD_ELEMENTS, BACKWARD_ELEMENTS = 4096, 2048
# Two for each of the 132 multiprocessors of an H100.
BACKWARD_PROGRAMS = 264


@triton.jit
def _normal_and_factor(p_x, p_sublayer, p_seed, threshold, scale, rows, R, D, BLOCK_D: tl.constexpr, DROPOUT: tl.constexpr):
    """z and the dropout factor (ROWS, BLOCK_D) of a block of rows, the offsets of its elements and which of them exist."""
    columns = tl.arange(0, BLOCK_D)
    o_block = rows[:, None].to(tl.int64) * D + columns[None, :]
    m_block = (rows[:, None] < R) & (columns[None, :] < D)
    x = tl.load(p_x + o_block, m_block, other=0.0).to(tl.float32)
    sublayer = tl.load(p_sublayer + o_block, m_block, other=0.0).to(tl.float32)
    if DROPOUT:
        factor = dropout_factors(tl.load(p_seed), threshold, scale, rows[:, None], tl.arange(0, BLOCK_D // 8)[None, :], 0)
    else:
        factor = tl.full(x.shape, 1.0, tl.float32)
    return x + sublayer * factor, factor, o_block, m_block


@triton.jit
def _forward_kernel(
    p_x, p_sublayer, p_weight, p_bias, p_y, p_mean, p_rstd, p_seed, R, D, eps, threshold, scale,
    ROWS: tl.constexpr, BLOCK_D: tl.constexpr, DROPOUT: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    columns = tl.arange(0, BLOCK_D)
    z, _, o_block, m_block = _normal_and_factor(p_x, p_sublayer, p_seed, threshold, scale, rows, R, D, BLOCK_D, DROPOUT)
    mean = tl.sum(z, 1) / D
    centred = tl.where(columns[None, :] < D, z - mean[:, None], 0.0)
    rstd = 1.0 / tl.sqrt(tl.sum(centred * centred, 1) / D + eps)
    weight = tl.load(p_weight + columns, columns < D, other=0.0).to(tl.float32)
    bias = tl.load(p_bias + columns, columns < D, other=0.0).to(tl.float32)
    y = centred * rstd[:, None] * weight[None, :] + bias[None, :]
    tl.store(p_y + o_block, y.to(p_y.dtype.element_ty), m_block)
    tl.store(p_mean + rows, mean, rows < R)
    tl.store(p_rstd + rows, rstd, rows < R)


@triton.jit
def _backward_kernel(
    p_dy, p_x, p_sublayer, p_weight, p_mean, p_rstd, p_dx, p_dsublayer, p_dweight_partials, p_dbias_partials, p_seed, R, D, threshold,
    scale, ROWS: tl.constexpr, BLOCK_D: tl.constexpr, DROPOUT: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    columns = tl.arange(0, BLOCK_D)
    weight = tl.load(p_weight + columns, columns < D, other=0.0).to(tl.float32)
    dweight = tl.zeros((BLOCK_D,), tl.float32)
    dbias = tl.zeros((BLOCK_D,), tl.float32)
    for block in range(program, tl.cdiv(R, ROWS), tl.num_programs(0)):
        rows = block * ROWS + tl.arange(0, ROWS)
        z, factor, o_block, m_block = _normal_and_factor(p_x, p_sublayer, p_seed, threshold, scale, rows, R, D, BLOCK_D, DROPOUT)
        mean = tl.load(p_mean + rows, rows < R, other=0.0)
        rstd = tl.load(p_rstd + rows, rows < R, other=0.0)
        dy = tl.load(p_dy + o_block, m_block, other=0.0).to(tl.float32)
        n = tl.where(m_block, (z - mean[:, None]) * rstd[:, None], 0.0)
        g = dy * weight[None, :]
        dz = rstd[:, None] * (g - (tl.sum(g, 1) / D)[:, None] - n * (tl.sum(g * n, 1) / D)[:, None])
        tl.store(p_dx + o_block, dz.to(p_dx.dtype.element_ty), m_block)
        tl.store(p_dsublayer + o_block, (dz * factor).to(p_dsublayer.dtype.element_ty), m_block)
        dweight += tl.sum(dy * n, 0)
        dbias += tl.sum(dy, 0)
    o_partial = program.to(tl.int64) * D + columns
    tl.store(p_dweight_partials + o_partial, dweight, columns < D)
    tl.store(p_dbias_partials + o_partial, dbias, columns < D)


def _blocks(d: int, elements: int) -> dict[str, int]:
    """Row and column extents of a block: all columns of as many rows as it may hold elements."""
    block_d = max(triton.next_power_of_2(d), 8)
    return {"ROWS": max(1, elements // block_d), "BLOCK_D": block_d}


def _dropout(dropout_p: float, seed: Tensor | None, like: Tensor) -> tuple[Tensor, int, float, bool]:
    """The seed's tensor (any tensor where nothing is dropped: it is not read), threshold, scale, and whether anything is dropped."""
    if seed is None:
        return like, 0, 1.0, False
    return seed, dropout_threshold(dropout_p), dropout_scale(dropout_p), True


def residual_layer_norm(
    x: Tensor, sublayer: Tensor, weight: Tensor, bias: Tensor, eps: float, dropout_p: float, seed: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    x, sublayer, weight, bias = x.contiguous(), sublayer.contiguous(), weight.contiguous(), bias.contiguous()
    rows, d = x.shape
    y = torch.empty_like(x)
    mean, rstd = x.new_empty(rows, dtype=torch.float32), x.new_empty(rows, dtype=torch.float32)
    seed, threshold, scale, drops = _dropout(dropout_p, seed, x)
    blocks = _blocks(d, FORWARD_ELEMENTS)
    if rows:
        grid = (triton.cdiv(rows, blocks["ROWS"]),)
        tensors = (x, sublayer, weight, bias, y, mean, rstd, seed)
        _forward_kernel[grid](*tensors, rows, d, eps, threshold, scale, **blocks, DROPOUT=drops)
    return y, mean, rstd


def residual_layer_norm_backward(
    dy: Tensor, x: Tensor, sublayer: Tensor, weight: Tensor, mean: Tensor, rstd: Tensor, dropout_p: float, seed: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    dy, x, sublayer, weight = dy.contiguous(), x.contiguous(), sublayer.contiguous(), weight.contiguous()
    rows, d = x.shape
    dx, dsublayer = torch.empty_like(x), torch.empty_like(x)
    seed, threshold, scale, drops = _dropout(dropout_p, seed, x)
    blocks = _blocks(d, BACKWARD_ELEMENTS)
    programs = min(BACKWARD_PROGRAMS, triton.cdiv(rows, blocks["ROWS"]))
    partials = x.new_empty((2, programs, d), dtype=torch.float32)
    if rows:
        tensors = (dy, x, sublayer, weight, mean, rstd, dx, dsublayer, partials[0], partials[1], seed)
        _backward_kernel[(programs,)](*tensors, rows, d, threshold, scale, **blocks, DROPOUT=drops)
    dweight, dbias = partials.sum(1).to(weight.dtype)
    return dx, dsublayer, dweight, dbias
