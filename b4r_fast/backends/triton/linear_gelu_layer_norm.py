"""y = n weight + bias with u = x w^T + b, g = GELU(u), n = (g - mean) rstd, for each row.

Backward: dg as dz in residual_layer_norm, du = dg GELU'(u), dx = du w, dw = du^T x, db = sum of du,
dweight = sum of dy n, dbias = sum of dy.

x, dx: (R, in). w, dw: (d, in). u, y, dy: (R, d). mean, rstd: (R,) fp32. Programs, sums and limits
as in residual_linear_layer_norm. Operations: forward 2 R d in, backward 4 R d in. Numbers moved a
row: forward in + 2 d, backward 2 in + 2 d.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .. import held_if
from ..addresses import contiguous
from .gelu_ffn import gelu, gelu_slope
from .layer_norm import gradient, load_vector, normalise
from .linear import WEIGHT_PROGRAMS
from .norm_of_product import BACKWARD, FORWARD, constants, fits, store_partials
from .rows import block_offsets, load_rows, split_sums, store_rows, sum_partials


@triton.jit(do_not_specialize=("R",))
def _forward_kernel(
    p_x, p_w, p_b, p_weight, p_bias, p_y, p_u, p_mean, p_rstd, R, IN, D, eps,
    BLOCK_IN: tl.constexpr, BLOCK_D: tl.constexpr, ROWS: tl.constexpr, TANH: tl.constexpr,
):  # fmt: skip
    rows, columns = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, BLOCK_D)
    x, w = load_rows(p_x, rows, R, IN, BLOCK_IN), load_rows(p_w, columns, D, IN, BLOCK_IN)
    u = (tl.dot(x, tl.trans(w), input_precision="ieee") + load_vector(p_b, columns, D)[None, :]).to(
        x.dtype
    )
    store_rows(p_u, u, rows, R, D, BLOCK_D)
    y, mean, rstd = normalise(gelu(u.to(tl.float32), TANH), p_weight, p_bias, D, eps, BLOCK_D)
    store_rows(p_y, y, rows, R, D, BLOCK_D)
    tl.store(p_mean + rows, mean, rows < R)
    tl.store(p_rstd + rows, rstd, rows < R)


@triton.jit(do_not_specialize=("R",))
def _backward_kernel(
    p_dy, p_x, p_w, p_u, p_weight, p_mean, p_rstd, p_dx, p_partials, R, IN, D,
    BLOCK_IN: tl.constexpr, BLOCK_D: tl.constexpr, ROWS: tl.constexpr, TANH: tl.constexpr,
):  # fmt: skip
    columns = tl.arange(0, BLOCK_D)
    w, weight = load_rows(p_w, columns, D, IN, BLOCK_IN), load_vector(p_weight, columns, D)
    dw = tl.zeros((BLOCK_D, BLOCK_IN), tl.float32)
    db = tl.zeros((BLOCK_D,), tl.float32)
    dweight = tl.zeros((BLOCK_D,), tl.float32)
    dbias = tl.zeros((BLOCK_D,), tl.float32)
    for block in range(tl.program_id(0), tl.cdiv(R, ROWS), tl.num_programs(0)):
        rows = block * ROWS + tl.arange(0, ROWS)
        _, m_block = block_offsets(rows, R, D, BLOCK_D)
        dy, u = (
            load_rows(p_dy, rows, R, D, BLOCK_D).to(tl.float32),
            load_rows(p_u, rows, R, D, BLOCK_D).to(tl.float32),
        )
        mean, rstd = (
            tl.load(p_mean + rows, rows < R, other=0.0),
            tl.load(p_rstd + rows, rows < R, other=0.0),
        )
        dg, n = gradient(dy, gelu(u, TANH), weight, mean, rstd, m_block, D)
        dweight += tl.sum(dy * n, 0)
        dbias += tl.sum(dy, 0)
        du = dg * gelu_slope(u, TANH)
        db += tl.sum(du, 0)
        x = load_rows(p_x, rows, R, IN, BLOCK_IN)
        du = du.to(x.dtype)
        store_rows(p_dx, tl.dot(du, w, input_precision="ieee"), rows, R, IN, BLOCK_IN)
        dw += tl.dot(tl.trans(du), x, input_precision="ieee")
    store_partials(p_partials, dw, db, dweight, dbias, IN, D, BLOCK_IN, BLOCK_D)


@held_if(lambda x, w, *_: fits(FORWARD, w))
def linear_gelu_layer_norm(
    x: Tensor, w: Tensor, b: Tensor, weight: Tensor, bias: Tensor, eps: float, approximate: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    inputs = contiguous(x, w, b, weight, bias)
    rows, (d, size_in) = x.shape[0], w.shape
    y, u = (x.new_empty((rows, d)) for _ in range(2))
    mean, rstd = (x.new_empty(rows, dtype=torch.float32) for _ in range(2))
    extents = constants(FORWARD, w)
    if rows:
        _forward_kernel[(triton.cdiv(rows, extents["ROWS"]),)](
            *inputs, y, u, mean, rstd, rows, size_in, d, eps, **extents, TANH=approximate == "tanh"
        )  # fmt: skip
    return y, u, mean, rstd


@held_if(lambda dy, x, w, *_: fits(BACKWARD, w))
def linear_gelu_layer_norm_backward(
    dy: Tensor,
    x: Tensor,
    w: Tensor,
    u: Tensor,
    weight: Tensor,
    mean: Tensor,
    rstd: Tensor,
    approximate: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    inputs = contiguous(dy, x, w, u, weight, mean, rstd)
    rows, (d, size_in) = x.shape[0], w.shape
    dx = x.new_empty(x.shape)
    extents = constants(BACKWARD, w)
    programs = min(WEIGHT_PROGRAMS, triton.cdiv(rows, extents["ROWS"]))
    partials = x.new_empty((programs, d * size_in + 3 * d), dtype=torch.float32)
    if rows:
        _backward_kernel[(programs,)](
            *inputs, dx, partials, rows, size_in, d, **extents, TANH=approximate == "tanh"
        )
    dw, db, dweight, dbias = split_sums(
        sum_partials(partials, dtype=w.dtype), [w.shape, *[(d,)] * 3]
    )
    return dx, dw, db, dweight, dbias


OPERATORS = (linear_gelu_layer_norm, linear_gelu_layer_norm_backward)
