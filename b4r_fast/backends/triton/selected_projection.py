"""x_selected = x[rows], q = x_selected w_q^T + b_q, joint = x w_kv^T + b_kv, w = (w_q; w_kv), b
likewise. The forward is the libraries'.

Backward: dx = djoint w_kv, and to the rows that are named, each once, dx_selected + dq w_q is
added; dw, db as in linear. x: (T, d). x_selected, q: (R, d). joint: (T, 2 d). Two passes of
linear's kernel, two sums of partials, and one pass over the named rows, which are distinct and so
need no atomics: no gradient of a part of w is padded or joined. Operations 4 d^2 (2 T + R). Numbers
moved: 4 T d + 7 R d.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .. import held_if
from ..addresses import contiguous
from .layer_norm import blocks
from .linear import fits, partial_gradients
from .rows import load_rows, sum_partials

ELEMENTS = 2048  # of a block of rows


@triton.jit(do_not_specialize=("R",))
def _add_to_rows_kernel(
    p_dx, p_first, p_second, p_rows, R, D, ROWS: tl.constexpr, BLOCK_D: tl.constexpr
):
    """Row r of both is added to row rows[r] of dx."""
    rows, columns = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, BLOCK_D)
    named = tl.load(p_rows + rows, rows < R, other=0)
    o_dx, m_dx = named[:, None] * D + columns[None, :], (rows[:, None] < R) & (columns[None, :] < D)
    dx = tl.load(p_dx + o_dx, m_dx, other=0.0).to(tl.float32)
    dx += load_rows(p_first, rows, R, D, BLOCK_D).to(tl.float32) + load_rows(
        p_second, rows, R, D, BLOCK_D
    ).to(tl.float32)
    tl.store(p_dx + o_dx, dx.to(p_dx.dtype.element_ty), m_dx)


@held_if(lambda dx_selected, dq, djoint, x, x_selected, w, rows: fits(w[w.shape[0] // 3 :]))
def selected_projection_backward(
    dx_selected: Tensor | None,
    dq: Tensor,
    djoint: Tensor,
    x: Tensor,
    x_selected: Tensor,
    w: Tensor,
    rows: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    d = w.shape[0] // 3
    dq, djoint, x, x_selected, w, rows = contiguous(dq, djoint, x, x_selected, w, rows)
    dx_selected = torch.zeros_like(x_selected) if dx_selected is None else dx_selected.contiguous()
    dx, *of_joint = partial_gradients(djoint, x, w[d:])
    dx_of_q, *of_q = partial_gradients(dq, x_selected, w[:d])
    n, size_in = x_selected.shape
    extents = blocks(size_in, ELEMENTS)
    if n:
        _add_to_rows_kernel[(triton.cdiv(n, extents["ROWS"]),)](
            dx, dx_of_q, dx_selected, rows, n, size_in, **extents
        )
    dw, db = (sum_partials(*parts, dtype=w.dtype) for parts in zip(of_q, of_joint))
    return dx, dw.view(w.shape), db


OPERATORS = (selected_projection_backward,)
