"""loss_i = -log softmax(z_i)[t_i], z_ij = h_i . C_j + b_j. With lse_i = log sum_{j != t} e^{z_ij}
and x_i = lse_i - z_it: loss_i = softplus(x_i), q_i = 1 - p_it = sigmoid(x_i), dloss_i/dh_i = q_i
(O_i / s_i - C_t) with s_i, O_i the sums over j != t of e^{z_ij} and of e^{z_ij} C_j. dC = dz^T h,
db = sum_i dz_i, where dz_ij = p_ij dloss_i for j != t and dz_it = -q_i dloss_i.

hidden, dhidden: (N, d). items, ditems: (V, d). bias: (V,) or None. Columns may be a sample of the
items: ids (V,) then says which item each is, and a column that is the row's target is left out.
Logits, softmax and all sums are fp32; operands of products have the tensors' dtype.

    forward    a program for a block of rows and a split of the columns: walks over them as
               attention does over keys, which leaves the running maximum, s and O of the split;
               split where rows alone are too few programs
    merge      a program for a block of rows: joins the splits, and adds the target
    backward   a program for a block of columns and a range of rows: walks over the rows, computes
               the logits again; ranges where the columns alone are too few programs, added up in
               order: no atomics, the same bits every time

Operations: forward 4 N V d, backward 4 N V d, an exp a logit in each. Bytes: C is read once for
every block of rows, from L2 where it fits there, h once for every block of columns; beyond that
(splits) N (d + 2) floats are written and read.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .. import held_if
from ..addresses import contiguous
from ..devices import cut
from . import tiles
from .online_softmax import LN2, LOG2E, rescale
from .reduce_loss import totals
from .rows import block_columns, load_rows, split_sums, sum_partials
from .target import all_registers

MERGE_ROWS, MERGE_ELEMENTS = 16, 2048  # of a block, at most
NOTHING = tl.constexpr(-1e30)  # the maximum of no logits: finite, or -inf less -inf would be NaN


@triton.jit
def _logits(h, c, p_bias, columns, V, BIAS: tl.constexpr):
    """z, fp32."""
    z = tl.dot(h, tl.trans(c), input_precision="ieee")
    if BIAS:
        z += tl.load(p_bias + columns, columns < V, other=0.0).to(tl.float32)[None, :]
    return z


@triton.jit
def _ids(p_ids, columns, V, SAMPLED: tl.constexpr):
    """Which item each column is."""
    if SAMPLED:
        return tl.load(p_ids + columns, columns < V, other=-1)
    return columns.to(tl.int64)


@triton.jit
def expm1(x):
    """e^x - 1 for x <= 0, to all digits also where it is small."""
    return tl.where(
        x > -0.01, x * (1.0 + x * (0.5 + x * (1.0 / 6.0 + x * (1.0 / 24.0)))), tl.exp(x) - 1.0
    )


@triton.jit
def log1p(x):
    """log(1 + x) for 0 <= x <= 1, to all digits also where it is small."""
    return tl.where(
        x < 0.01, x * (1.0 - x * (0.5 - x * (1.0 / 3.0 - x * (0.25 - x * 0.2)))), tl.log(1.0 + x)
    )


@triton.jit
def join_target(maximum, total, z_target):
    """loss, q and the log-sum-exp over all, from maximum and sum over the others."""
    others = maximum + tl.log2(total) * LN2
    x = others - z_target
    near = tl.exp(-tl.abs(x))
    rest = log1p(near)
    loss = tl.maximum(x, 0.0, propagate_nan=tl.PropagateNan.ALL) + rest
    # Not z_target + loss, which has one rounding more.
    lse = tl.maximum(others, z_target, propagate_nan=tl.PropagateNan.ALL) + rest
    return loss, tl.where(x < 0, near, 1.0) / (1.0 + near), lse


@triton.jit(do_not_specialize=("N", "splits", "columns_of_split"))
def _forward_kernel(
    p_hidden, p_items, p_bias, p_ids, p_targets, p_maximum, p_total, p_acc,  # pointers
    N, V, d, splits, columns_of_split,  # sizes
    BLOCK_D: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, BIAS: tl.constexpr,
    SAMPLED: tl.constexpr,
):  # fmt: skip
    split, rows = tl.program_id(0) % splits, tl.program_id(0) // splits * ROWS + tl.arange(0, ROWS)
    h = load_rows(p_hidden, rows, N, d, BLOCK_D)
    target = tl.load(p_targets + rows, rows < N, other=-1)
    maximum = tl.full((ROWS,), NOTHING, tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    acc = tl.zeros((ROWS, BLOCK_D), tl.float32)
    begin = split * columns_of_split
    for start in range(begin, tl.minimum(begin + columns_of_split, V), COLUMNS):
        columns = start + tl.arange(0, COLUMNS)
        c = load_rows(p_items, columns, V, d, BLOCK_D)
        z = _logits(h, c, p_bias, columns, V, BIAS)
        out = (columns[None, :] >= V) | (
            _ids(p_ids, columns, V, SAMPLED)[None, :] == target[:, None]
        )
        z = tl.where(out, float("-inf"), z)
        maximum, factor = rescale(maximum, tl.max(z, 1), LOG2E)
        # Exponents turn to base 2 last, when they are near 0 where it counts.
        e = tl.exp2((z - maximum[:, None]) * LOG2E)
        total = total * factor + tl.sum(e, 1)
        acc = acc * factor[:, None] + tl.dot(e.to(c.dtype), c, input_precision="ieee")
    o_row = split.to(tl.int64) * N + rows
    k = tl.arange(0, BLOCK_D)
    tl.store(p_maximum + o_row, maximum, rows < N)
    tl.store(p_total + o_row, total, rows < N)
    tl.store(p_acc + o_row[:, None] * d + k[None, :], acc, (rows[:, None] < N) & (k[None, :] < d))


@triton.jit(do_not_specialize=("N", "splits"))
def _merge_kernel(
    # pointers
    p_hidden, p_items, p_bias, p_targets, p_maximum, p_total, p_acc, p_loss, p_dhidden, p_lse,
    N, d, splits,  # sizes
    BLOCK_D: tl.constexpr, ROWS: tl.constexpr, BIAS: tl.constexpr,
):  # fmt: skip
    """items, bias: of the whole catalogue, as targets are rows of it."""
    rows, k = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, BLOCK_D)
    m_rows, o_row = rows < N, rows.to(tl.int64)
    maximum = tl.full((ROWS,), NOTHING, tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    acc = tl.zeros((ROWS, BLOCK_D), tl.float32)
    m_block = m_rows[:, None] & (k[None, :] < d)
    for _ in range(0, splits):
        of_split = tl.load(p_maximum + o_row, m_rows, other=NOTHING)
        maximum, factor = rescale(maximum, of_split, LOG2E)
        scale = tl.exp2((of_split - maximum) * LOG2E)
        total = total * factor + tl.load(p_total + o_row, m_rows, other=0.0) * scale
        acc = (
            acc * factor[:, None]
            + tl.load(p_acc + o_row[:, None] * d + k[None, :], m_block, other=0.0) * scale[:, None]
        )
        o_row += N
    target = tl.load(p_targets + rows, m_rows, other=-1)
    valid = target >= 0
    h = load_rows(p_hidden, rows, N, d, BLOCK_D).to(tl.float32)
    m_target = valid[:, None] & (k[None, :] < d)
    c = tl.load(p_items + target[:, None] * d + k[None, :], m_target, other=0.0).to(tl.float32)
    z_target = tl.sum(h * c, 1)
    if BIAS:
        z_target += tl.load(p_bias + target, valid, other=0.0).to(tl.float32)
    loss, q, lse = join_target(maximum, total, z_target)
    mean = acc / tl.where(total == 0.0, 1.0, total)[:, None]
    dhidden = tl.where(valid[:, None], q[:, None] * (mean - c), 0.0)
    tl.store(p_loss + rows, tl.where(valid, loss, 0.0), m_rows)
    tl.store(p_lse + rows, tl.where(valid, lse, 0.0), m_rows)
    o_block = rows[:, None].to(tl.int64) * d + k[None, :]
    tl.store(p_dhidden + o_block, dhidden.to(p_dhidden.dtype.element_ty), m_block)


@triton.jit(do_not_specialize=("N", "dloss_row", "column_blocks", "rows_of_range"))
def _backward_kernel(
    p_dloss, p_hidden, p_items, p_bias, p_ids, p_targets, p_loss, p_lse, p_gradients,  # pointers
    dloss_row,  # stride
    N, V, d, size, column_blocks, rows_of_range,  # sizes
    BLOCK_D: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, BIAS: tl.constexpr,
    SAMPLED: tl.constexpr,
):  # fmt: skip
    """gradients (ranges, size): ditems (V, d), then dbias (V,). dloss: dloss_row numbers from row
    to row, 0 if all have one.

    A target that is a column of a sample is left out: its gradient is added apart.
    """
    part, columns = (
        tl.program_id(0) // column_blocks,
        tl.program_id(0) % column_blocks * COLUMNS + tl.arange(0, COLUMNS),
    )
    c, ids = load_rows(p_items, columns, V, d, BLOCK_D), _ids(p_ids, columns, V, SAMPLED)
    ditems = tl.zeros((COLUMNS, BLOCK_D), tl.float32)
    dbias = tl.zeros((COLUMNS,), tl.float32)
    begin = part * rows_of_range
    for start in range(begin, tl.minimum(begin + rows_of_range, N), ROWS):
        rows = start + tl.arange(0, ROWS)
        target = tl.load(p_targets + rows, rows < N, other=-1)
        valid = target >= 0
        # Rows without a target are out before anything is computed: what is not finite there would
        # spoil the table.
        k = tl.arange(0, BLOCK_D)
        h = tl.load(
            p_hidden + rows[:, None].to(tl.int64) * d + k[None, :],
            valid[:, None] & (k[None, :] < d),
            other=0.0,
        )
        dloss = tl.load(p_dloss + rows * dloss_row, valid, other=0.0).to(tl.float32)
        lse = tl.load(p_lse + rows, valid, other=0.0).to(tl.float32)
        p = tl.exp2((_logits(h, c, p_bias, columns, V, BIAS) - lse[:, None]) * LOG2E)
        # A sample leaves its targets out.
        at_target = tl.zeros((ROWS,), tl.float32)
        if not SAMPLED:
            at_target += expm1(-tl.load(p_loss + rows, valid, other=0.0).to(tl.float32))
        dz = tl.where(ids[None, :] == target[:, None], at_target[:, None], p) * dloss[:, None]
        dz = tl.where(valid[:, None], dz, 0.0)
        ditems += tl.dot(tl.trans(dz.to(h.dtype)), h, input_precision="ieee")
        dbias += tl.sum(dz, 0)
    k = tl.arange(0, BLOCK_D)
    p_gradients += part.to(tl.int64) * size
    m_block = (columns[:, None] < V) & (k[None, :] < d)
    o_items = columns[:, None].to(tl.int64) * d + k[None, :]
    tl.store(p_gradients + o_items, ditems.to(p_gradients.dtype.element_ty), m_block)
    if BIAS:
        tl.store(
            p_gradients + tl.cast(V, tl.int64) * d + columns,
            dbias.to(p_gradients.dtype.element_ty),
            columns < V,
        )


def _operands(
    hidden: Tensor, columns: Tensor, bias: Tensor | None, targets: Tensor, ids: Tensor | None
) -> dict[str, Tensor | int | bool]:
    """What forward and backward take: any tensor stands for a bias or ids that there are not."""
    pointers = {
        "p_hidden": hidden,
        "p_items": columns,
        "p_bias": hidden if bias is None else bias,
        "p_targets": targets,
    }
    pointers |= {"p_ids": targets if ids is None else ids}
    n, d = hidden.shape
    sizes = {"N": n, "V": columns.shape[0], "d": d, "BLOCK_D": block_columns(d)}
    return pointers | sizes | {"BIAS": bias is not None, "SAMPLED": ids is not None}


def _blocks(tile: tiles.Tile) -> dict[str, int]:
    return {"ROWS": tile.rows, "COLUMNS": tile.columns} | tile.options


def forward_columns(
    hidden: Tensor,
    items: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    columns: Tensor,
    column_bias: Tensor | None,
    ids: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """loss (N,) and lse (N,) in fp32 and dhidden (N, d), of targets that are rows of items against
    columns, a sample if ids are given.
    """
    n, d, v = *hidden.shape, columns.shape[0]
    block = tiles.tile("softmax_loss forward", d, hidden.dtype)
    row_blocks, column_blocks, block_d = (
        triton.cdiv(n, block.rows),
        triton.cdiv(v, block.columns),
        block_columns(d),
    )
    splits, blocks_of_split = cut(column_blocks, row_blocks)
    # Each for itself: where slices of one tensor lie would depend on n, and Triton compiles for how
    # an address is aligned.
    maximum, total = (hidden.new_empty((splits, n), dtype=torch.float32) for _ in range(2))
    acc = hidden.new_empty((splits, n, d), dtype=torch.float32)
    loss, lse = (hidden.new_empty(n, dtype=torch.float32) for _ in range(2))
    dhidden = torch.empty_like(hidden)
    if n:
        partials = {"p_maximum": maximum, "p_total": total, "p_acc": acc}
        _forward_kernel[(row_blocks * splits,)](
            **_operands(hidden, columns, column_bias, targets, ids), **partials,
            splits=splits, columns_of_split=blocks_of_split * block.columns, **_blocks(block),
        )  # fmt: skip
        merge_rows = min(MERGE_ROWS, MERGE_ELEMENTS // block_d)
        _merge_kernel[(triton.cdiv(n, merge_rows),)](
            p_hidden=hidden, p_items=items, p_bias=hidden if bias is None else bias,
            p_targets=targets, **partials,
            p_loss=loss, p_dhidden=dhidden, p_lse=lse, N=n, d=d, splits=splits,
            BLOCK_D=block_d, ROWS=merge_rows, BIAS=bias is not None, **all_registers(),
        )  # fmt: skip
    return loss, dhidden, lse


def backward_columns(
    dloss: Tensor,
    hidden: Tensor,
    columns: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    loss: Tensor,
    lse: Tensor,
    ids: Tensor | None,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor | None]:
    """The gradients of columns (V, d) and of bias (V,); of a sample without what targets add.

    dloss: (N,) of any stride, or () for all rows.
    """
    n, d, v = *hidden.shape, columns.shape[0]
    block = tiles.tile("softmax_loss backward", d, hidden.dtype)
    row_blocks, column_blocks = triton.cdiv(n, block.rows), triton.cdiv(v, block.columns)
    ranges, blocks_of_range = cut(row_blocks, column_blocks)
    shapes = [(v, d)] if bias is None else [(v, d), (v,)]
    # So that every range begins at an address for wide stores.
    size = 16 * triton.cdiv(v * d + (0 if bias is None else v), 16)
    gradients = hidden.new_empty((ranges, size), dtype=dtype if ranges == 1 else torch.float32)
    if v:
        _backward_kernel[(column_blocks * ranges,)](
            **_operands(hidden, columns, bias, targets, ids), p_dloss=dloss, p_loss=loss,
            p_lse=lse, p_gradients=gradients,
            dloss_row=dloss.stride(0) if dloss.dim() else 0,
            size=size, column_blocks=column_blocks, rows_of_range=blocks_of_range * block.rows,
            **_blocks(block),
        )  # fmt: skip
    ditems, *dbias = split_sums(
        gradients[0] if ranges == 1 else sum_partials(gradients, dtype=dtype), shapes
    )
    return ditems, dbias[0] if dbias else None


def fits(hidden: Tensor, *_) -> bool:
    return all(
        tiles.fits(f"softmax_loss {which}", hidden.shape[1], hidden.dtype)
        for which in ("forward", "backward")
    )


def fits_backward(dloss: Tensor, *inputs) -> bool:
    return fits(*inputs)


@held_if(fits)
def softmax_loss(
    hidden: Tensor, items: Tensor, bias: Tensor | None, targets: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    hidden, items, bias, targets = contiguous(hidden, items, bias, targets)
    return forward_columns(hidden, items, bias, targets, items, bias, None)


@held_if(fits_backward)
def softmax_loss_backward(
    dloss: Tensor,
    hidden: Tensor,
    items: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    loss: Tensor,
    lse: Tensor,
) -> tuple[Tensor, Tensor | None]:
    hidden, items, bias, targets, loss, lse = contiguous(hidden, items, bias, targets, loss, lse)
    return backward_columns(dloss, hidden, items, bias, targets, loss, lse, None, items.dtype)


@held_if(fits)
def reduced_softmax_loss(
    hidden: Tensor,
    items: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    weights: Tensor | None,
    mean: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
    hidden, items, bias, targets = contiguous(hidden, items, bias, targets)
    losses, dhidden, lse = forward_columns(hidden, items, bias, targets, items, bias, None)
    if weights is None:
        loss, weight, counts = totals(losses, targets, mean).unbind()
    else:
        loss, weight, _ = totals(losses * weights, targets, mean).unbind()
        dhidden, counts = (dhidden * weights[:, None]).to(hidden.dtype), weights
    return (
        loss,
        weight,
        dhidden,
        *backward_columns(counts, hidden, items, bias, targets, losses, lse, None, items.dtype),
    )


OPERATORS = (softmax_loss, softmax_loss_backward, reduced_softmax_loss)
