"""y = n weight + bias with z = x + factor s, s = FFN(x), n = (z - mean) rstd, for each row; factor
is 0 or 1 / keep rate.

Backward: dz as in residual_layer_norm, ds = factor dz, dx = dz and what gelu_ffn's backward makes
of ds, dweight = sum of dy n, dbias = sum of dy, and the gradients of the network's weights from ds.

x, s, y, dx, ds: (R, d). mean, rstd: (R,) fp32. The kernels of gelu_ffn with the norm around, for as
many columns: operations as there. Numbers moved a row: forward 3 d, backward 8 d, where a network
and a norm apart, and the sum of the two gradients of x, move 3 d more forward and 6 d backward. A
block of rows leaves its part of dweight, dbias and db2, added up in order: the same bits every
time.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .. import held_if
from ..addresses import contiguous
from . import tiles
from .gelu_ffn import constants, feed, feed_back, weight_partials
from .layer_norm import load_vector, normalise
from .philox import dropout_arguments, dropout_factors
from .residual_layer_norm import residual_gradient
from .rows import load_rows, split_sums, store_rows, sum_partials


@triton.jit(do_not_specialize=("R",))
def _forward_kernel(
    # pointers
    p_x, p_w1, p_b1, p_w2, p_b2, p_weight, p_bias, p_y, p_sublayer, p_mean, p_rstd, p_seed,
    R, d, f, eps, threshold, scale,  # sizes and numbers
    BLOCK_D: tl.constexpr, ROWS: tl.constexpr, HIDDEN: tl.constexpr, TANH: tl.constexpr,
    DROPOUT: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    x = load_rows(p_x, rows, R, d, BLOCK_D)
    sublayer = feed(x, p_w1, p_b1, p_w2, p_b2, d, f, BLOCK_D, HIDDEN, TANH).to(x.dtype)
    store_rows(p_sublayer, sublayer, rows, R, d, BLOCK_D)
    sublayer = sublayer.to(tl.float32)
    if DROPOUT:
        sublayer *= dropout_factors(
            tl.load(p_seed), threshold, scale, rows[:, None], tl.arange(0, BLOCK_D // 8)[None, :], 0
        )
    y, mean, rstd = normalise(x.to(tl.float32) + sublayer, p_weight, p_bias, d, eps, BLOCK_D)
    store_rows(p_y, y, rows, R, d, BLOCK_D)
    tl.store(p_mean + rows, mean, rows < R)
    tl.store(p_rstd + rows, rstd, rows < R)


@triton.jit(do_not_specialize=("R",))
def _dx_kernel(
    p_dy, p_x, p_w1, p_b1, p_w2, p_sublayer, p_weight, p_mean, p_rstd,  # pointers, read
    p_dx, p_ds, p_partials, p_seed,  # and written
    R, d, f, threshold, scale,  # sizes and numbers
    BLOCK_D: tl.constexpr, ROWS: tl.constexpr, HIDDEN: tl.constexpr, TANH: tl.constexpr,
    DROPOUT: tl.constexpr,
):  # fmt: skip
    """Partials of a block of rows: dweight, dbias, db2 (d,)."""
    rows, columns = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, BLOCK_D)
    dz, ds, dweight, dbias = residual_gradient(
        p_dy, p_x, p_sublayer, load_vector(p_weight, columns, d), p_mean, p_rstd, p_seed, threshold,
        scale, rows, R, d, BLOCK_D, DROPOUT,
    )  # fmt: skip
    p_partials += tl.program_id(0).to(tl.int64) * (3 * d) + columns
    tl.store(p_partials, dweight, columns < d)
    tl.store(p_partials + d, dbias, columns < d)
    tl.store(p_partials + 2 * d, tl.sum(ds, 0), columns < d)
    x = load_rows(p_x, rows, R, d, BLOCK_D)
    ds = ds.to(x.dtype)
    store_rows(p_ds, ds, rows, R, d, BLOCK_D)
    store_rows(
        p_dx,
        feed_back(dz, ds, x, p_w1, p_b1, p_w2, d, f, BLOCK_D, HIDDEN, TANH),
        rows,
        R,
        d,
        BLOCK_D,
    )


def _fits(w1: Tensor, kernel: str) -> bool:
    f, d = w1.shape
    return tiles.fits(kernel, d, w1.dtype, f)


@held_if(lambda x, w1, *_: _fits(w1, "residual_ffn forward"))
def residual_ffn_layer_norm(
    x: Tensor,
    w1: Tensor,
    b1: Tensor,
    w2: Tensor,
    b2: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    approximate: str,
    dropout_p: float,
    seed: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x, w1, b1, w2, b2, weight, bias = contiguous(x, w1, b1, w2, b2, weight, bias)
    rows, d = x.shape
    y, sublayer = (x.new_empty(x.shape) for _ in range(2))
    mean, rstd = (x.new_empty(rows, dtype=torch.float32) for _ in range(2))
    seed, threshold, scale, drops = dropout_arguments(dropout_p, seed, x)
    extents = constants("residual_ffn forward", w1, approximate)
    if rows:
        _forward_kernel[(triton.cdiv(rows, extents["ROWS"]),)](
            p_x=x, p_w1=w1, p_b1=b1, p_w2=w2, p_b2=b2, p_weight=weight, p_bias=bias,
            p_y=y, p_sublayer=sublayer, p_mean=mean, p_rstd=rstd, p_seed=seed,
            R=rows, d=d, f=w1.shape[0], eps=eps, threshold=threshold, scale=scale, **extents,
            DROPOUT=drops,
        )  # fmt: skip
    return y, sublayer, mean, rstd


@held_if(lambda dy, x, w1, *_: _fits(w1, "residual_ffn dx"))
def residual_ffn_layer_norm_backward(
    dy: Tensor,
    x: Tensor,
    w1: Tensor,
    b1: Tensor,
    w2: Tensor,
    sublayer: Tensor,
    weight: Tensor,
    mean: Tensor,
    rstd: Tensor,
    approximate: str,
    dropout_p: float,
    seed: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    inputs = dy, x, w1, b1, w2, sublayer, weight, mean, rstd
    dy, x, w1, b1, w2, sublayer, weight, mean, rstd = contiguous(*inputs)
    (rows, d), f = x.shape, w1.shape[0]
    dx, ds = x.new_empty(x.shape), x.new_empty(x.shape)
    seed, threshold, scale, drops = dropout_arguments(dropout_p, seed, x)
    extents = constants("residual_ffn dx", w1, approximate)
    row_blocks = triton.cdiv(rows, extents["ROWS"])
    partials = x.new_empty((row_blocks, 3 * d), dtype=torch.float32)
    if rows:
        _dx_kernel[(row_blocks,)](
            p_dy=dy, p_x=x, p_w1=w1, p_b1=b1, p_w2=w2, p_sublayer=sublayer, p_weight=weight,
            p_mean=mean, p_rstd=rstd,
            p_dx=dx, p_ds=ds, p_partials=partials, p_seed=seed,
            R=rows, d=d, f=f, threshold=threshold, scale=scale, **extents, DROPOUT=drops,
        )  # fmt: skip
    sums = sum_partials(weight_partials(ds, x, w1, b1, w2, approximate), partials, dtype=x.dtype)
    dw1, dw2, db1, dweight, dbias, db2 = split_sums(sums, [(f, d), (d, f), (f,), *[(d,)] * 3])
    return dx, dw1, db1, dw2, db2, dweight, dbias


OPERATORS = (residual_ffn_layer_norm, residual_ffn_layer_norm_backward)
