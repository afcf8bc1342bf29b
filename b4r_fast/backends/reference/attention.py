"""o = (softmax(scale q k^T) keep / keep_rate) v within each sequence and head; lse = log sum
exp(scale q k^T). docs/attention.md.

R rows of q, T tokens of k and v, H heads, D head size. Backward, with P the softmax, M = keep /
keep_rate, and delta = rowsum(do o) (which equals rowsum(P M dP)): dv = (P M)^T do, dS = P (M dP -
delta) with dP = do v^T, dq = scale dS k, dk = scale dS^T q.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from .. import implementation
from ..packing import Packing
from .philox import dropout_scale, keep_mask


def _sequences(packing: Packing) -> Iterator[tuple[slice, slice]]:
    """The rows and the tokens of each sequence that has both."""
    starts_q, starts_k = packing.cu_seqlens_q.tolist(), packing.cu_seqlens_k.tolist()
    for b in range(len(starts_q) - 1):
        if starts_q[b + 1] > starts_q[b] and starts_k[b + 1] > starts_k[b]:
            yield slice(starts_q[b], starts_q[b + 1]), slice(starts_k[b], starts_k[b + 1])


def _keep_scale(rows: slice, tokens: slice, q: Tensor, packing: Packing) -> Tensor | float:
    """(H, rows, keys): the row of q counts in the whole batch, the key in its sequence."""
    if packing.dropout_p == 0.0 or packing.seed is None:
        return 1.0
    row = torch.arange(rows.start, rows.stop, device=q.device)
    head = torch.arange(q.shape[1], device=q.device)
    kept = keep_mask(
        packing.seed, packing.dropout_p, row, tokens.stop - tokens.start, head[:, None]
    )
    return kept.to(q.dtype) * dropout_scale(packing.dropout_p)


def attention(q: Tensor, k: Tensor, v: Tensor, *packing) -> tuple[Tensor, Tensor]:
    packing = Packing(*packing)
    out = torch.zeros(q.shape, dtype=q.dtype, device=q.device)
    lse = torch.full(
        (q.shape[1], q.shape[0]),
        -torch.inf,
        dtype=torch.promote_types(q.dtype, torch.float32),
        device=q.device,
    )
    for rows, tokens in _sequences(packing):
        scores = torch.einsum("qhd,khd->hqk", q[rows], k[tokens]) * packing.scale
        lse[:, rows] = scores.logsumexp(2)
        kept = scores.softmax(2) * _keep_scale(rows, tokens, q, packing)
        out[rows] = torch.einsum("hqk,khd->qhd", kept, v[tokens])
    return out, lse


def attention_gradients(
    dout: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    dq: Tensor,
    dk: Tensor,
    dv: Tensor,
    *packing,
) -> None:
    """Writes dq, dk and dv, which may be slices of one tensor, as q, k and v may."""
    packing = Packing(*packing)
    for gradient in (dq, dk, dv):
        gradient.zero_()
    delta = (dout * out).sum(2).T
    for rows, tokens in _sequences(packing):
        scores = torch.einsum("qhd,khd->hqk", q[rows], k[tokens]) * packing.scale
        p = (scores - lse[:, rows, None]).exp().to(q.dtype)
        keep = _keep_scale(rows, tokens, q, packing)
        dv[tokens] = torch.einsum("hqk,qhd->khd", p * keep, dout[rows])
        dp = torch.einsum("qhd,khd->hqk", dout[rows], v[tokens])
        ds = p * (dp * keep - delta[:, rows, None])
        dq[rows] = torch.einsum("hqk,khd->qhd", ds, k[tokens]) * packing.scale
        dk[tokens] = torch.einsum("hqk,qhd->khd", ds, q[rows]) * packing.scale


def attention_backward(
    dout: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, *packing
) -> tuple[Tensor, Tensor, Tensor]:
    dq, dk, dv = (x.new_empty(x.shape) for x in (q, k, v))
    implementation("attention_gradients", q)(dout, q, k, v, out, lse, dq, dk, dv, *packing)
    return dq, dk, dv


def heads_together(x: Tensor) -> Tensor:
    """(tokens, H, D) whose heads lie one after the other; the tokens may be apart, as in a slice of
    a joint projection.
    """
    return x if x.stride()[1:] == (x.shape[2], 1) else x.contiguous()


OPERATORS = (attention, attention_gradients, attention_backward)
