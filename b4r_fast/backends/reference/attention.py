"""o = (softmax(scale q k^T) keep / keep_rate) v within each sequence and head; lse = log sum exp(scale q k^T). docs/attention.md.

R rows of q, T tokens of k and v, H heads, D head size. Backward, with P the softmax, M = keep / keep_rate, and
delta = rowsum(do o) (which equals rowsum(P M dP)):
dv = (P M)^T do, dS = P (M dP - delta) with dP = do v^T, dq = scale dS k, dk = scale dS^T q.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from .philox import dropout_scale, keep_mask


def _sequences(cu_seqlens_q: Tensor, cu_seqlens_k: Tensor) -> Iterator[tuple[slice, slice]]:
    """The rows and the tokens of each sequence that has rows."""
    starts_q, starts_k = cu_seqlens_q.tolist(), cu_seqlens_k.tolist()
    for b in range(len(starts_q) - 1):
        if starts_q[b + 1] > starts_q[b]:
            yield slice(starts_q[b], starts_q[b + 1]), slice(starts_k[b], starts_k[b + 1])


def _keep_scale(rows: slice, tokens: slice, heads: int, like: Tensor, dropout_p: float, seed: Tensor | None) -> Tensor | float:
    """(H, rows, keys): the row of q counts in the whole batch, the key in its sequence."""
    if dropout_p == 0.0 or seed is None:
        return 1.0
    row = torch.arange(rows.start, rows.stop, device=like.device)
    head = torch.arange(heads, device=like.device)
    return keep_mask(seed, dropout_p, row, tokens.stop - tokens.start, head[:, None]).to(like.dtype) * dropout_scale(dropout_p)


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    scale: float,
    dropout_p: float,
    seed: Tensor | None,
) -> tuple[Tensor, Tensor]:
    heads = q.shape[1]
    out = torch.zeros(q.shape, dtype=q.dtype, device=q.device)
    lse = torch.full((heads, q.shape[0]), -torch.inf, dtype=torch.promote_types(q.dtype, torch.float32), device=q.device)
    for rows, tokens in _sequences(cu_seqlens_q, cu_seqlens_k):
        if tokens.start == tokens.stop:
            continue
        scores = torch.einsum("qhd,khd->hqk", q[rows], k[tokens]) * scale
        lse[:, rows] = scores.logsumexp(2)
        kept = scores.softmax(2) * _keep_scale(rows, tokens, heads, q, dropout_p, seed)
        out[rows] = torch.einsum("hqk,khd->qhd", kept, v[tokens])
    return out, lse


def attention_backward(
    dout: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    scale: float,
    dropout_p: float,
    seed: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    dq, dk, dv = (torch.zeros(t.shape, dtype=t.dtype, device=t.device) for t in (q, k, v))
    delta = (dout * out).sum(2).T
    for rows, tokens in _sequences(cu_seqlens_q, cu_seqlens_k):
        if tokens.start == tokens.stop:
            continue
        scores = torch.einsum("qhd,khd->hqk", q[rows], k[tokens]) * scale
        p = (scores - lse[:, rows, None]).exp().to(q.dtype)
        keep = _keep_scale(rows, tokens, q.shape[1], q, dropout_p, seed)
        dv[tokens] = torch.einsum("hqk,qhd->khd", p * keep, dout[rows])
        dp = torch.einsum("qhd,khd->hqk", dout[rows], v[tokens])
        ds = p * (dp * keep - delta[:, rows, None])
        dq[rows] = torch.einsum("hqk,khd->qhd", ds, k[tokens]) * scale
        dk[tokens] = torch.einsum("hqk,qhd->khd", ds, q[rows]) * scale
    return dq, dk, dv


def heads_together(x: Tensor) -> Tensor:
    """(tokens, H, D) whose heads lie one after the other; the tokens may be apart, as in a slice of a joint projection."""
    return x if x.stride()[1:] == (x.shape[2], 1) else x.contiguous()


def split_joint(q: Tensor | None, joint: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """q, k and v are joint (T, 3, H, D); or k and v are joint (T, 2, H, D), and q stands apart."""
    if q is None:
        q, k, v = joint.unbind(1)
    else:
        k, v = joint.unbind(1)
    return q, k, v


def joint_attention(q: Tensor | None, joint: Tensor, *rest) -> tuple[Tensor, Tensor]:
    return attention(*split_joint(q, joint), *rest)


def joint_attention_backward(dout: Tensor, q: Tensor | None, joint: Tensor, *rest) -> tuple[Tensor | None, Tensor]:
    dq, dk, dv = attention_backward(dout, *split_joint(q, joint), *rest)
    return (None, torch.stack((dq, dk, dv), 1)) if q is None else (dq, torch.stack((dk, dv), 1))
