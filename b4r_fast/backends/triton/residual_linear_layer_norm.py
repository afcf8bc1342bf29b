"""y = n weight + bias with z = x + factor s, s = a w^T + b, n = (z - mean) rstd, for each row;
factor is 0 or 1 / keep rate.

Backward: dz as in residual_layer_norm, dx = dz, ds = factor dz, da = ds w, dw = ds^T a, db = sum of
ds, dweight = sum of dy n, dbias = sum of dy.

a, da: (R, in). w, dw: (d, in). x, s, y and their gradients: (R, d). mean, rstd: (R,) fp32. A
program holds w and whole rows; in the backward it walks over blocks of rows and adds up its parts
of the weights' gradients, which are added up in the programs' order: the same bits every time.
Operations: forward 2 R d in, backward 4 R d in. Numbers moved a row: forward in + 3 d, backward 2
in + 4 d, where a product and a norm apart move 2 d more forward and 4 d backward. Where a program
cannot hold all that (tiles.py), the parts serve one by one.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .. import held_if
from ..addresses import contiguous
from .layer_norm import load_vector, normalise
from .linear import WEIGHT_PROGRAMS
from .norm_of_product import BACKWARD, FORWARD, constants, fits, store_partials
from .philox import dropout_arguments, dropout_factors
from .residual_layer_norm import residual_gradient
from .rows import load_rows, split_sums, store_rows, sum_partials


@triton.jit(do_not_specialize=("R",))
def _forward_kernel(
    p_a, p_w, p_b, p_x, p_weight, p_bias, p_y, p_sublayer, p_mean, p_rstd, p_seed,  # pointers
    R, IN, D, eps, threshold, scale,  # sizes and numbers
    BLOCK_IN: tl.constexpr, BLOCK_D: tl.constexpr, ROWS: tl.constexpr, DROPOUT: tl.constexpr,
):  # fmt: skip
    rows, columns = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, BLOCK_D)
    a, w = load_rows(p_a, rows, R, IN, BLOCK_IN), load_rows(p_w, columns, D, IN, BLOCK_IN)
    sublayer = (
        tl.dot(a, tl.trans(w), input_precision="ieee") + load_vector(p_b, columns, D)[None, :]
    ).to(a.dtype)
    store_rows(p_sublayer, sublayer, rows, R, D, BLOCK_D)
    sublayer = sublayer.to(tl.float32)
    if DROPOUT:
        sublayer *= dropout_factors(
            tl.load(p_seed), threshold, scale, rows[:, None], tl.arange(0, BLOCK_D // 8)[None, :], 0
        )
    z = load_rows(p_x, rows, R, D, BLOCK_D).to(tl.float32) + sublayer
    y, mean, rstd = normalise(z, p_weight, p_bias, D, eps, BLOCK_D)
    store_rows(p_y, y, rows, R, D, BLOCK_D)
    tl.store(p_mean + rows, mean, rows < R)
    tl.store(p_rstd + rows, rstd, rows < R)


@triton.jit(do_not_specialize=("R",))
def _backward_kernel(
    # pointers
    p_dy, p_a, p_w, p_x, p_sublayer, p_weight, p_mean, p_rstd, p_da, p_dx, p_partials, p_seed,
    R, IN, D, threshold, scale,  # sizes and numbers
    BLOCK_IN: tl.constexpr, BLOCK_D: tl.constexpr, ROWS: tl.constexpr, DROPOUT: tl.constexpr,
):  # fmt: skip
    columns = tl.arange(0, BLOCK_D)
    w, weight = load_rows(p_w, columns, D, IN, BLOCK_IN), load_vector(p_weight, columns, D)
    dw = tl.zeros((BLOCK_D, BLOCK_IN), tl.float32)
    db = tl.zeros((BLOCK_D,), tl.float32)
    dweight = tl.zeros((BLOCK_D,), tl.float32)
    dbias = tl.zeros((BLOCK_D,), tl.float32)
    for block in range(tl.program_id(0), tl.cdiv(R, ROWS), tl.num_programs(0)):
        rows = block * ROWS + tl.arange(0, ROWS)
        dz, ds, dweight_of_block, dbias_of_block = residual_gradient(
            p_dy, p_x, p_sublayer, weight, p_mean, p_rstd, p_seed, threshold, scale, rows, R, D,
            BLOCK_D, DROPOUT,
        )  # fmt: skip
        dweight += dweight_of_block
        dbias += dbias_of_block
        db += tl.sum(ds, 0)
        store_rows(p_dx, dz, rows, R, D, BLOCK_D)
        a = load_rows(p_a, rows, R, IN, BLOCK_IN)
        ds = ds.to(a.dtype)
        store_rows(p_da, tl.dot(ds, w, input_precision="ieee"), rows, R, IN, BLOCK_IN)
        dw += tl.dot(tl.trans(ds), a, input_precision="ieee")
    store_partials(p_partials, dw, db, dweight, dbias, IN, D, BLOCK_IN, BLOCK_D)


@held_if(lambda a, w, *_: fits(FORWARD, w))
def residual_linear_layer_norm(
    a: Tensor,
    w: Tensor,
    b: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    dropout_p: float,
    seed: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    a, w, b, x, weight, bias = contiguous(a, w, b, x, weight, bias)
    rows, (d, size_in) = a.shape[0], w.shape
    y, sublayer = (a.new_empty((rows, d)) for _ in range(2))
    mean, rstd = (a.new_empty(rows, dtype=torch.float32) for _ in range(2))
    seed, threshold, scale, drops = dropout_arguments(dropout_p, seed, a)
    extents = constants(FORWARD, w)
    if rows:
        _forward_kernel[(triton.cdiv(rows, extents["ROWS"]),)](
            p_a=a, p_w=w, p_b=b, p_x=x, p_weight=weight, p_bias=bias,
            p_y=y, p_sublayer=sublayer, p_mean=mean, p_rstd=rstd, p_seed=seed,
            R=rows, IN=size_in, D=d, eps=eps, threshold=threshold, scale=scale, **extents,
            DROPOUT=drops,
        )  # fmt: skip
    return y, sublayer, mean, rstd


@held_if(lambda dy, a, w, *_: fits(BACKWARD, w))
def residual_linear_layer_norm_backward(
    dy: Tensor,
    a: Tensor,
    w: Tensor,
    x: Tensor,
    sublayer: Tensor,
    weight: Tensor,
    mean: Tensor,
    rstd: Tensor,
    dropout_p: float,
    seed: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    dy, a, w, x, sublayer, weight, mean, rstd = contiguous(
        dy, a, w, x, sublayer, weight, mean, rstd
    )
    rows, (d, size_in) = a.shape[0], w.shape
    da, dx = a.new_empty(a.shape), a.new_empty(x.shape)
    seed, threshold, scale, drops = dropout_arguments(dropout_p, seed, a)
    extents = constants(BACKWARD, w)
    programs = min(WEIGHT_PROGRAMS, triton.cdiv(rows, extents["ROWS"]))
    partials = a.new_empty((programs, d * size_in + 3 * d), dtype=torch.float32)
    if rows:
        _backward_kernel[(programs,)](
            p_dy=dy, p_a=a, p_w=w, p_x=x, p_sublayer=sublayer, p_weight=weight, p_mean=mean,
            p_rstd=rstd,
            p_da=da, p_dx=dx, p_partials=partials, p_seed=seed,
            R=rows, IN=size_in, D=d, threshold=threshold, scale=scale, **extents, DROPOUT=drops,
        )  # fmt: skip
    dw, db, dweight, dbias = split_sums(
        sum_partials(partials, dtype=w.dtype), [w.shape, *[(d,)] * 3]
    )
    return da, dw, db, dx, dweight, dbias


OPERATORS = (residual_linear_layer_norm, residual_linear_layer_norm_backward)
