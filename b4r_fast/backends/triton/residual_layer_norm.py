"""y = n weight + bias with z = x + factor sublayer, n = (z - mean) rstd, for each row of D numbers;
factor is 0 or 1 / keep rate.

Backward, with g = dy weight: dz = rstd (g - avg(g) - n avg(g n)), dx = dz, dsublayer = factor dz,
dweight = sum of dy n, dbias = sum of dy.

x, sublayer, y, dy, dx, dsublayer: (R, D) contiguous. mean, rstd: (R,) fp32. Statistics and weight
gradients in fp32, one pass over a block of rows held in registers. Each program of the backward
walks row blocks a grid apart and writes one partial sum of the weight gradients, added up in order:
the same bits every time. Bytes a number, fp32: forward 12, backward 20; the memory is the limit.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..addresses import contiguous
from ..devices import PROGRAMS
from .layer_norm import FORWARD_ELEMENTS, backward_blocks, blocks, gradient, load_vector, normalise
from .philox import dropout_arguments, dropout_factors
from .rows import block_offsets, load_rows, sum_partials


@triton.jit
def _normal_and_factor(
    p_x, p_sublayer, p_seed, threshold, scale, rows, R, D, BLOCK_D: tl.constexpr,
    DROPOUT: tl.constexpr,
):  # fmt: skip
    """z and the dropout factor (ROWS, BLOCK_D) of a block of rows, the offsets of its elements and
    which of them exist.
    """
    o_block, m_block = block_offsets(rows, R, D, BLOCK_D)
    x = tl.load(p_x + o_block, m_block, other=0.0).to(tl.float32)
    sublayer = tl.load(p_sublayer + o_block, m_block, other=0.0).to(tl.float32)
    if DROPOUT:
        factor = dropout_factors(
            tl.load(p_seed), threshold, scale, rows[:, None], tl.arange(0, BLOCK_D // 8)[None, :], 0
        )
    else:
        factor = tl.full(x.shape, 1.0, tl.float32)
    return x + sublayer * factor, factor, o_block, m_block


@triton.jit(do_not_specialize=("R",))
def _forward_kernel(
    p_x, p_sublayer, p_weight, p_bias, p_y, p_mean, p_rstd, p_seed, R, D, eps, threshold, scale,
    ROWS: tl.constexpr, BLOCK_D: tl.constexpr, DROPOUT: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    z, _, o_block, m_block = _normal_and_factor(
        p_x, p_sublayer, p_seed, threshold, scale, rows, R, D, BLOCK_D, DROPOUT
    )
    y, mean, rstd = normalise(z, p_weight, p_bias, D, eps, BLOCK_D)
    tl.store(p_y + o_block, y.to(p_y.dtype.element_ty), m_block)
    tl.store(p_mean + rows, mean, rows < R)
    tl.store(p_rstd + rows, rstd, rows < R)


@triton.jit
def residual_gradient(
    p_dy, p_x, p_sublayer, weight, p_mean, p_rstd, p_seed, threshold, scale, rows, R, D,
    BLOCK_D: tl.constexpr, DROPOUT: tl.constexpr,
):  # fmt: skip
    """For ops that go on with them: dz and ds of a block of rows, and what it adds to dweight and
    dbias. All fp32.
    """
    _, m_block = block_offsets(rows, R, D, BLOCK_D)
    dy, z = (
        load_rows(p_dy, rows, R, D, BLOCK_D).to(tl.float32),
        load_rows(p_x, rows, R, D, BLOCK_D).to(tl.float32),
    )
    sublayer = load_rows(p_sublayer, rows, R, D, BLOCK_D).to(tl.float32)
    mean, rstd = (
        tl.load(p_mean + rows, rows < R, other=0.0),
        tl.load(p_rstd + rows, rows < R, other=0.0),
    )
    factor = 1.0
    if DROPOUT:
        factor = dropout_factors(
            tl.load(p_seed), threshold, scale, rows[:, None], tl.arange(0, BLOCK_D // 8)[None, :], 0
        )
    dz, n = gradient(dy, z + sublayer * factor, weight, mean, rstd, m_block, D)
    return dz, dz * factor, tl.sum(dy * n, 0), tl.sum(dy, 0)


@triton.jit(do_not_specialize=("R",))
def _backward_kernel(
    p_dy, p_x, p_sublayer, p_weight, p_mean, p_rstd, p_dx, p_dsublayer, p_partials, p_seed, R, D,
    threshold, scale,
    ROWS: tl.constexpr, BLOCK_D: tl.constexpr, DROPOUT: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    columns = tl.arange(0, BLOCK_D)
    weight = load_vector(p_weight, columns, D)
    dweight = tl.zeros((BLOCK_D,), tl.float32)
    dbias = tl.zeros((BLOCK_D,), tl.float32)
    for block in range(program, tl.cdiv(R, ROWS), tl.num_programs(0)):
        rows = block * ROWS + tl.arange(0, ROWS)
        z, factor, o_block, m_block = _normal_and_factor(
            p_x, p_sublayer, p_seed, threshold, scale, rows, R, D, BLOCK_D, DROPOUT
        )
        mean = tl.load(p_mean + rows, rows < R, other=0.0)
        rstd = tl.load(p_rstd + rows, rows < R, other=0.0)
        dy = tl.load(p_dy + o_block, m_block, other=0.0).to(tl.float32)
        dz, n = gradient(dy, z, weight, mean, rstd, m_block, D)
        tl.store(p_dx + o_block, dz.to(p_dx.dtype.element_ty), m_block)
        tl.store(p_dsublayer + o_block, (dz * factor).to(p_dsublayer.dtype.element_ty), m_block)
        dweight += tl.sum(dy * n, 0)
        dbias += tl.sum(dy, 0)
    p_partials += program.to(tl.int64) * (2 * D) + columns
    tl.store(p_partials, dweight, columns < D)
    tl.store(p_partials + D, dbias, columns < D)


def residual_layer_norm(
    x: Tensor,
    sublayer: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    dropout_p: float,
    seed: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    x, sublayer, weight, bias = contiguous(x, sublayer, weight, bias)
    rows, d = x.shape
    y = torch.empty_like(x)
    mean, rstd = x.new_empty(rows, dtype=torch.float32), x.new_empty(rows, dtype=torch.float32)
    seed, threshold, scale, drops = dropout_arguments(dropout_p, seed, x)
    extents = blocks(d, FORWARD_ELEMENTS)
    if rows:
        grid = (triton.cdiv(rows, extents["ROWS"]),)
        tensors = (x, sublayer, weight, bias, y, mean, rstd, seed)
        _forward_kernel[grid](*tensors, rows, d, eps, threshold, scale, **extents, DROPOUT=drops)
    return y, mean, rstd


def residual_layer_norm_backward(
    dy: Tensor,
    x: Tensor,
    sublayer: Tensor,
    weight: Tensor,
    mean: Tensor,
    rstd: Tensor,
    dropout_p: float,
    seed: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    dy, x, sublayer, weight = contiguous(dy, x, sublayer, weight)
    rows, d = x.shape
    dx, dsublayer = torch.empty_like(x), torch.empty_like(x)
    seed, threshold, scale, drops = dropout_arguments(dropout_p, seed, x)
    extents = backward_blocks(d)
    programs = min(PROGRAMS, triton.cdiv(rows, extents["ROWS"]))
    partials = x.new_empty((programs, 2 * d), dtype=torch.float32)
    if rows:
        tensors = (dy, x, sublayer, weight, mean, rstd, dx, dsublayer, partials, seed)
        _backward_kernel[(programs,)](*tensors, rows, d, threshold, scale, **extents, DROPOUT=drops)
    dweight, dbias = sum_partials(partials, dtype=weight.dtype).view(2, d)
    return dx, dsublayer, dweight, dbias


OPERATORS = (residual_layer_norm, residual_layer_norm_backward)
