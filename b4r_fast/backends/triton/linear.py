"""Backward of y = x w^T + b: dx = dy w, dw = dy^T x, db = sum of dy. x, dx: (R, in). dy: (R, out).
w, dw: (out, in). The forward is the libraries' product.

One pass: a program walks over blocks of rows, holds w, and adds up its parts of dw and db, which
are added up in the programs' order: the same bits every time. Operations 4 R in out. Bytes: x, dy
and dx once each, where two products and a sum read dy three times, and a launch instead of three.
Where a program cannot hold dw in registers (tiles.py), the libraries' products serve.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .. import held_if
from ..devices import PROGRAMS
from . import tiles
from .rows import block_columns, load_rows, split_sums, store_rows, sum_partials

MOST_IN = 64
# Of kernels that leave a whole dw each: one a multiprocessor.
WEIGHT_PROGRAMS = PROGRAMS // 2


@triton.jit(do_not_specialize=("R",))
def _backward_kernel(
    p_dy, p_x, p_w, p_dx, p_dw, p_db, R, IN, OUT, BLOCK_OUT: tl.constexpr, BLOCK_IN: tl.constexpr,
    ROWS: tl.constexpr,
):  # fmt: skip
    """Partials dw (programs, OUT, IN), db (programs, OUT)."""
    program, columns = tl.program_id(0), tl.arange(0, BLOCK_OUT)
    w = load_rows(p_w, columns, OUT, IN, BLOCK_IN)
    dw = tl.zeros((BLOCK_OUT, BLOCK_IN), tl.float32)
    db = tl.zeros((BLOCK_OUT,), tl.float32)
    for block in range(program, tl.cdiv(R, ROWS), tl.num_programs(0)):
        rows = block * ROWS + tl.arange(0, ROWS)
        dy, x = load_rows(p_dy, rows, R, OUT, BLOCK_OUT), load_rows(p_x, rows, R, IN, BLOCK_IN)
        store_rows(p_dx, tl.dot(dy, w, input_precision="ieee"), rows, R, IN, BLOCK_IN)
        dw += tl.dot(tl.trans(dy), x, input_precision="ieee")
        db += tl.sum(dy.to(tl.float32), 0)
    store_rows(p_dw + program.to(tl.int64) * (OUT * IN), dw, columns, OUT, IN, BLOCK_IN)
    tl.store(p_db + program.to(tl.int64) * OUT + columns, db, columns < OUT)


def fits(w: Tensor) -> bool:
    """Whether a program can hold all of dw."""
    return w.shape[1] <= MOST_IN and tiles.fits("linear backward", w.shape[0], w.dtype, w.shape[1])


def partial_gradients(dy: Tensor, x: Tensor, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """dx, and what the programs add to dw (P, out in) and to db (P, out)."""
    n, (size_out, size_in) = x.shape[0], w.shape
    block = tiles.tile("linear backward", size_out, x.dtype, size_in)
    programs = min(WEIGHT_PROGRAMS, triton.cdiv(n, block.rows))
    dx = x.new_empty(x.shape)
    dw, db = (
        x.new_empty((programs, size), dtype=torch.float32)
        for size in (size_out * size_in, size_out)
    )
    if n:
        _backward_kernel[(programs,)](
            dy, x, w, dx, dw, db, n, size_in, size_out,
            BLOCK_OUT=block_columns(size_out), BLOCK_IN=block_columns(size_in), ROWS=block.rows,
            num_stages=1,
            **block.options,
        )  # fmt: skip
    return dx, dw, db


@held_if(lambda dy, x, w: fits(w))
def linear_backward(dy: Tensor, x: Tensor, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    dx, *partials = partial_gradients(dy.contiguous(), x.contiguous(), w.contiguous())
    dw, db = split_sums(sum_partials(*partials, dtype=w.dtype), [w.shape, w.shape[:1]])
    return dx, dw, db


OPERATORS = (linear_backward,)
