"""queries = x[rows], q = queries w_q^T + b_q, joint = x w_kv^T + b_kv, w = (w_q; w_kv), b likewise. The forward is the libraries'.

Backward: dx = djoint w_kv, and to the rows that are named, each once, dqueries + dq w_q is added; dw, db as in linear. x: (T, d).
queries, q: (R, d). joint: (T, 2 d). Two passes of linear's kernel, two sums of partials, and one pass over the named rows, which are
distinct and so need no atomics: no gradient of a part of w is padded or joined. Operations 4 d^2 (2 T + R). Numbers moved: 4 T d + 7 R d.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .composed import COMPOSED
from .layer_norm import blocks
from .linear import fits, partial_gradients
from .rows import load_rows, sum_partials

ELEMENTS = 2048  # of a block of rows


@triton.jit(do_not_specialize=("R",))
def _add_to_rows_kernel(p_dx, p_first, p_second, p_rows, R, D, ROWS: tl.constexpr, BLOCK_D: tl.constexpr):
    """Row r of both is added to row rows[r] of dx."""
    rows, columns = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, BLOCK_D)
    named = tl.load(p_rows + rows, rows < R, other=0)
    o_dx, m_dx = named[:, None] * D + columns[None, :], (rows[:, None] < R) & (columns[None, :] < D)
    dx = tl.load(p_dx + o_dx, m_dx, other=0.0).to(tl.float32)
    dx += load_rows(p_first, rows, R, D, BLOCK_D).to(tl.float32) + load_rows(p_second, rows, R, D, BLOCK_D).to(tl.float32)
    tl.store(p_dx + o_dx, dx.to(p_dx.dtype.element_ty), m_dx)


def selected_projection_backward(
    dqueries: Tensor | None, dq: Tensor, djoint: Tensor, x: Tensor, queries: Tensor, w: Tensor, rows: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    d = w.shape[0] // 3
    if not fits(w[d:]):
        return COMPOSED["selected_projection_backward"](dqueries, dq, djoint, x, queries, w, rows)
    dq, djoint, x, queries, w, rows = (t.contiguous() for t in (dq, djoint, x, queries, w, rows))
    dqueries = torch.zeros_like(queries) if dqueries is None else dqueries.contiguous()
    dx, *of_joint = partial_gradients(djoint, x, w[d:])
    dx_of_rows, *of_q = partial_gradients(dq, queries, w[:d])
    n, size_in = queries.shape
    extents = blocks(size_in, ELEMENTS)
    if n:
        _add_to_rows_kernel[(triton.cdiv(n, extents["ROWS"]),)](dx, dx_of_rows, dqueries, rows, n, size_in, **extents)
    dw, db = (sum_partials(*parts, dtype=w.dtype) for parts in zip(of_q, of_joint))
    return dx, dw.view(w.shape), db
