"""y = GELU(u) w2^T + b2 with u = x w1^T + b1. Backward, u computed again: a = GELU(u), du = (dy w2)
GELU'(u),
  dx = du w1, dw1 = du^T x, db1 = sum du, dw2 = dy^T a, db2 = sum dy.

x, y, dy, dx: (T, d) contiguous. w1, dw1: (f, d). b1: (f,). w2, dw2: (d, f). b2: (d,). Sums, bias
and GELU are fp32; the operands of the products have the tensors' dtype.

Where the table of tiles has a block, up to d = 128, the hidden layer is never stored. A program of
the forward and of dx holds a block of rows and walks over the hidden layer in panels; one of the
weights' gradient holds a panel of the hidden layer and walks over a range of rows, and the ranges
are added up in order: the same bits every time. Operations: forward 4 T d f, backward 14 T d f, as
u and dy w2 are computed once for dx and once for the weights. Bytes, bf16: forward 4 T d, backward
10 T d, and the weights for every block of rows, which L2 serves. At d = 64, f = 256, a layer
between libraries' products moves 4 T (d + 2 f) forward: nine times as much.

Beyond that the products are the libraries': a product of T x d x f then does some d / 2 operations
a byte even with the hidden layer stored and read, so the tensor cores decide and not the memory,
and a tile of d columns no longer fits into a program's registers.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .. import held_if
from ..devices import cut
from . import tiles
from .rows import block_columns, load_rows, split_sums, store_rows, sum_partials

SQRT_HALF = tl.constexpr(0.7071067811865476)
NORMAL_DENSITY = tl.constexpr(0.3989422804014327)  # of 0
TANH_SLOPE = tl.constexpr(1.5957691216057308)  # 2 sqrt(2 / pi)
TANH_CUBIC = tl.constexpr(0.044715)


@triton.jit
def _sigmoid_of_tanh(u):
    """(1 + tanh y) / 2, which is the sigmoid of 2 y, for y = sqrt(2 / pi) (u + 0.044715 u^3)."""
    return 1.0 / (1.0 + tl.exp(-(u * TANH_SLOPE) * (u * u * TANH_CUBIC + 1.0)))


@triton.jit
def gelu(u, TANH: tl.constexpr):
    if TANH:
        return u * _sigmoid_of_tanh(u)
    return 0.5 * u * (1.0 + tl.math.erf(u * SQRT_HALF))


@triton.jit
def gelu_slope(u, TANH: tl.constexpr):
    if TANH:
        g = _sigmoid_of_tanh(u)
        return g + u * g * (1.0 - g) * TANH_SLOPE * (u * u * (3.0 * TANH_CUBIC) + 1.0)
    return 0.5 * (1.0 + tl.math.erf(u * SQRT_HALF)) + u * NORMAL_DENSITY * tl.exp(-0.5 * u * u)


@triton.jit
def _out_offsets(hidden, f, d, BLOCK_D: tl.constexpr):
    """Offsets of (hidden, BLOCK_D) in w2 (d, f), transposed, and which of them exist."""
    columns = tl.arange(0, BLOCK_D)
    return columns[None, :] * f + hidden[:, None], (hidden[:, None] < f) & (columns[None, :] < d)


@triton.jit
def _load_out(p_w2, hidden, f, d, BLOCK_D: tl.constexpr):
    """(hidden, BLOCK_D) of w2 (d, f) transposed, zeros around."""
    o_out, m_out = _out_offsets(hidden, f, d, BLOCK_D)
    return tl.load(p_w2 + o_out, m_out, other=0.0)


@triton.jit
def _hidden(x, w1, p_b1, hidden, f):
    """u (rows, hidden), fp32."""
    return (
        tl.dot(x, tl.trans(w1), input_precision="ieee")
        + tl.load(p_b1 + hidden, hidden < f, other=0.0).to(tl.float32)[None, :]
    )


@triton.jit
def feed(
    x, p_w1, p_b1, p_w2, p_b2, d, f, BLOCK_D: tl.constexpr, HIDDEN: tl.constexpr, TANH: tl.constexpr
):
    """y of a block of rows, fp32."""
    columns = tl.arange(0, BLOCK_D)
    y = tl.zeros((x.shape[0], BLOCK_D), tl.float32)
    for start in range(0, f, HIDDEN):
        hidden = start + tl.arange(0, HIDDEN)
        a = gelu(_hidden(x, load_rows(p_w1, hidden, f, d, BLOCK_D), p_b1, hidden, f), TANH)
        y += tl.dot(a.to(x.dtype), _load_out(p_w2, hidden, f, d, BLOCK_D), input_precision="ieee")
    return y + tl.load(p_b2 + columns, columns < d, other=0.0).to(tl.float32)[None, :]


@triton.jit
def feed_back(
    dx, dy, x, p_w1, p_b1, p_w2, d, f, BLOCK_D: tl.constexpr, HIDDEN: tl.constexpr,
    TANH: tl.constexpr,
):  # fmt: skip
    """dx, fp32, and what comes to it from dy, of a block of rows."""
    for start in range(0, f, HIDDEN):
        hidden = start + tl.arange(0, HIDDEN)
        w1 = load_rows(p_w1, hidden, f, d, BLOCK_D)
        da = tl.dot(dy, tl.trans(_load_out(p_w2, hidden, f, d, BLOCK_D)), input_precision="ieee")
        du = da * gelu_slope(_hidden(x, w1, p_b1, hidden, f), TANH)
        dx += tl.dot(du.to(x.dtype), w1, input_precision="ieee")
    return dx


@triton.jit(do_not_specialize=("R",))
def _forward_kernel(
    p_x, p_w1, p_b1, p_w2, p_b2, p_y, R, d, f,
    BLOCK_D: tl.constexpr, ROWS: tl.constexpr, HIDDEN: tl.constexpr, TANH: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    y = feed(
        load_rows(p_x, rows, R, d, BLOCK_D), p_w1, p_b1, p_w2, p_b2, d, f, BLOCK_D, HIDDEN, TANH
    )
    store_rows(p_y, y, rows, R, d, BLOCK_D)


@triton.jit(do_not_specialize=("R",))
def _dx_kernel(
    p_dy, p_x, p_w1, p_b1, p_w2, p_dx, p_db2_partials, R, d, f,
    BLOCK_D: tl.constexpr, ROWS: tl.constexpr, HIDDEN: tl.constexpr, TANH: tl.constexpr,
):  # fmt: skip
    """Partials of db2: a block of rows each."""
    rows, columns = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, BLOCK_D)
    x, dy = load_rows(p_x, rows, R, d, BLOCK_D), load_rows(p_dy, rows, R, d, BLOCK_D)
    tl.store(
        p_db2_partials + tl.program_id(0).to(tl.int64) * d + columns,
        tl.sum(dy.to(tl.float32), 0),
        columns < d,
    )
    dx = feed_back(
        tl.zeros((ROWS, BLOCK_D), tl.float32), dy, x, p_w1, p_b1, p_w2, d, f, BLOCK_D, HIDDEN, TANH
    )
    store_rows(p_dx, dx, rows, R, d, BLOCK_D)


@triton.jit(do_not_specialize=("R", "rows_of_range"))
def _dweight_kernel(
    p_dy, p_x, p_w1, p_b1, p_w2, p_partials, R, d, f, panels, rows_of_range,
    BLOCK_D: tl.constexpr, ROWS: tl.constexpr, HIDDEN: tl.constexpr, TANH: tl.constexpr,
):  # fmt: skip
    """One panel of the hidden layer and one range of rows. Partials of a range: dw1 (f, d), dw2 (d,
    f), db1 (f,).
    """
    part, hidden = (
        tl.program_id(0) // panels,
        tl.program_id(0) % panels * HIDDEN + tl.arange(0, HIDDEN),
    )
    begin = part * rows_of_range
    end = tl.minimum(begin + rows_of_range, R)
    w1, w2 = load_rows(p_w1, hidden, f, d, BLOCK_D), _load_out(p_w2, hidden, f, d, BLOCK_D)
    dw1 = tl.zeros((HIDDEN, BLOCK_D), tl.float32)
    dw2 = tl.zeros((HIDDEN, BLOCK_D), tl.float32)
    db1 = tl.zeros((HIDDEN,), tl.float32)
    for start in range(begin, end, ROWS):
        rows = start + tl.arange(0, ROWS)
        x, dy = load_rows(p_x, rows, end, d, BLOCK_D), load_rows(p_dy, rows, end, d, BLOCK_D)
        u = _hidden(x, w1, p_b1, hidden, f)
        du = tl.dot(dy, tl.trans(w2), input_precision="ieee") * gelu_slope(u, TANH)
        dw1 += tl.dot(tl.trans(du.to(x.dtype)), x, input_precision="ieee")
        dw2 += tl.dot(tl.trans(gelu(u, TANH).to(x.dtype)), dy, input_precision="ieee")
        db1 += tl.sum(du, 0)
    p_partials += part.to(tl.int64) * (2 * f * d + f)
    store_rows(p_partials, dw1, hidden, f, d, BLOCK_D)
    o_out, m_out = _out_offsets(hidden, f, d, BLOCK_D)
    tl.store(p_partials + f * d + o_out, dw2, m_out)
    tl.store(p_partials + 2 * f * d + hidden, db1, hidden < f)


def constants(kernel: str, w1: Tensor, approximate: str) -> dict[str, int | bool]:
    f, d = w1.shape
    block = tiles.tile(kernel, d, w1.dtype, f)
    return {
        "BLOCK_D": block_columns(d),
        "ROWS": block.rows,
        "HIDDEN": block.columns,
        "TANH": approximate == "tanh",
    } | block.options


def fits(w1: Tensor) -> bool:
    """Whether the kernels hold so many columns."""
    f, d = w1.shape
    return all(
        tiles.fits(kernel, d, w1.dtype, f)
        for kernel in ("gelu_ffn forward", "gelu_ffn dx", "gelu_ffn weights")
    )


@held_if(lambda x, w1, *_: fits(w1))
def gelu_ffn(x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, approximate: str) -> Tensor:
    rows, d = x.shape
    x, w1, b1, w2, b2 = (t.contiguous() for t in (x, w1, b1, w2, b2))
    y = torch.empty_like(x)
    if rows:
        extents = constants("gelu_ffn forward", w1, approximate)
        _forward_kernel[(triton.cdiv(rows, extents["ROWS"]),)](
            x, w1, b1, w2, b2, y, rows, d, w1.shape[0], **extents
        )
    return y


def weight_partials(
    dy: Tensor, x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, approximate: str
) -> Tensor:
    """(ranges, 2 f d + f): what ranges of rows add to dw1, dw2 and db1."""
    (rows, d), f = x.shape, w1.shape[0]
    extents = constants("gelu_ffn weights", w1, approximate)
    panels = triton.cdiv(f, extents["HIDDEN"])
    ranges, blocks = cut(triton.cdiv(rows, extents["ROWS"]), panels)
    partials = x.new_empty((ranges, 2 * f * d + f), dtype=torch.float32)
    if f:
        _dweight_kernel[(panels * ranges,)](
            dy, x, w1, b1, w2, partials, rows, d, f, panels, blocks * extents["ROWS"], **extents
        )
    return partials


@held_if(lambda dy, x, w1, *_: fits(w1))
def gelu_ffn_backward(
    dy: Tensor, x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, approximate: str
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    rows, d = x.shape
    dy, x, w1, b1, w2 = (t.contiguous() for t in (dy, x, w1, b1, w2))
    f, dx = w1.shape[0], torch.empty_like(x)
    extents = constants("gelu_ffn dx", w1, approximate)
    row_blocks = triton.cdiv(rows, extents["ROWS"])
    db2 = x.new_empty((row_blocks, d), dtype=torch.float32)
    if rows:
        _dx_kernel[(row_blocks,)](dy, x, w1, b1, w2, dx, db2, rows, d, f, **extents)
    sums = sum_partials(weight_partials(dy, x, w1, b1, w2, approximate), db2, dtype=x.dtype)
    dw1, dw2, db1, db2 = split_sums(sums, [(f, d), (d, f), (f,), (d,)])
    return dx, dw1, db1, dw2, db2


OPERATORS = (gelu_ffn, gelu_ffn_backward)
