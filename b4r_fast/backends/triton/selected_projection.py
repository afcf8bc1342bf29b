"""queries = x[rows], q = queries w_q^T + b_q, joint = x w_kv^T + b_kv, w = (w_q; w_kv), b likewise. The forward is the libraries'.

Backward: dx = djoint w_kv, and to the rows that are named, each once, dqueries + dq w_q is added; dw, db as in linear. x: (T, d).
queries, q: (R, d). joint: (T, 2 d). Two passes of linear's kernel and two sums of partials: no gradient of a part of w is padded or joined.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .composed import COMPOSED
from .linear import fits, partial_gradients
from .rows import sum_partials


def selected_projection_backward(
    dqueries: Tensor | None, dq: Tensor, djoint: Tensor, x: Tensor, queries: Tensor, w: Tensor, rows: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    d = w.shape[0] // 3
    if not fits(w[d:]):
        return COMPOSED["selected_projection_backward"](dqueries, dq, djoint, x, queries, w, rows)
    dq, djoint, x, queries, w, rows = (t.contiguous() for t in (dq, djoint, x, queries, w, rows))
    dqueries = torch.zeros_like(queries) if dqueries is None else dqueries.contiguous()
    dx = x.new_empty(x.shape)
    of_joint = partial_gradients(djoint, x, w[d:], dx)
    of_q = partial_gradients(dq, queries, w[:d], dx, rows, dqueries)
    dw, db = (sum_partials(*parts, dtype=w.dtype) for parts in zip(of_q, of_joint))
    return dx, dw.view(w.shape), db
