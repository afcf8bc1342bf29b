"""o = (P M) v with P = softmax(scale q k^T) within a sequence and head, M = keep / keep rate; lse =
log sum exp(scale q k^T).

Backward, delta = rowsum(do o), dP = do v^T: dv = (P M)^T do, dS = P (M dP - delta), dq = scale dS
k, dk = scale dS^T q.

q, o, do, dq: (R, H, D). k, v, dk, dv: (T, H, D). lse: (H, R) fp32. Tokens may be apart, heads lie
one after the other. Scores, softmax and all sums are fp32; the operands of the products have the
tensors' dtype. Exponents are of base 2.

Operations of n rows and n keys in one head: forward 4 n^2 D, backward 8 n^2 D and 2 n^2 D for the
scores again; an exp each, and an eighth of a Philox call. Bytes a number of q, k, v and o: forward
4 reads or writes of n D, and of k and v again for every further block of rows; backward 8 of n D,
and of q, do and o again for every further block of keys; what is read again L2 serves. No program
waits for another and nothing is added up in memory, so the bits are the same every time.

    forward          a program for a block of rows: walks over the keys with running maximum, sum
                     and weighted sum of v
    backward, whole  up to 256 rows a sequence, 128 of heads above 64 columns: a program for a
                     sequence and head holds dq of all its rows in registers; it walks over the
                     keys, for a block of them over the rows that there are, and then has dk and dv
    backward, tiled  longer ones: a program for a block of keys walks over the rows, one for a block
                     of rows over the keys; 14 n^2 D
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .. import held_if
from ..packing import Packing
from ..reference.attention import heads_together
from . import tiles
from .online_softmax import LN2, LOG2E, rescale
from .philox import dropout_arguments, dropout_factors
from .rows import block_columns

# Of a sequence whose backward one program holds: rows, and numbers of dq, of which each of 256
# threads keeps 64 in its 255 registers.
MOST_ROWS, MOST_HELD = 256, 1 << 14


@triton.jit
def _place(blocks, H):
    """Block, head and sequence of a program."""
    unit = tl.program_id(0) // blocks
    return tl.program_id(0) % blocks, unit % H, unit // H


@triton.jit
def _tokens(p_cu, sequence):
    """First token of a sequence, and how many it has."""
    first = tl.load(p_cu + sequence)
    return first, tl.load(p_cu + sequence + 1) - first


@triton.jit
def _load_block(p_x, token, tokens, end, head, D: tl.constexpr, BLOCK_D: tl.constexpr):
    """Those of `tokens` before `end` of one head, (tokens, BLOCK_D), with zeros around."""
    columns = tl.arange(0, BLOCK_D)
    o_x = tokens[:, None].to(tl.int64) * token + head * D + columns[None, :]
    return tl.load(p_x + o_x, (tokens[:, None] < end) & (columns[None, :] < D), other=0.0)


@triton.jit
def _store_block(p_x, x, token, tokens, end, head, D: tl.constexpr, BLOCK_D: tl.constexpr):
    columns = tl.arange(0, BLOCK_D)
    o_x = tokens[:, None].to(tl.int64) * token + head * D + columns[None, :]
    tl.store(
        p_x + o_x, x.to(p_x.dtype.element_ty), (tokens[:, None] < end) & (columns[None, :] < D)
    )


@triton.jit(do_not_specialize=("R", "blocks"))
def _forward_kernel(
    p_q, p_k, p_v, p_out, p_lse, p_cu_q, p_cu_k, p_seed,  # pointers
    q_token, k_token, v_token, out_token,  # strides
    R, H, blocks, scale, threshold, keep_scale,  # sizes and numbers
    D: tl.constexpr, BLOCK_D: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    DROPOUT: tl.constexpr,
):  # fmt: skip
    block, head, sequence = _place(blocks, H)
    first_row, n = _tokens(p_cu_q, sequence)
    first_key, keys = _tokens(p_cu_k, sequence)
    if block * ROWS >= n:
        return
    rows, end = first_row + block * ROWS + tl.arange(0, ROWS), first_row + n
    q = _load_block(p_q, q_token, rows, end, head, D, BLOCK_D)
    maximum = tl.full((ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    acc = tl.zeros((ROWS, BLOCK_D), tl.float32)
    for start in range(0, keys, KEYS):
        key = start + tl.arange(0, KEYS)
        k = _load_block(p_k, k_token, first_key + key, first_key + keys, head, D, BLOCK_D)
        v = _load_block(p_v, v_token, first_key + key, first_key + keys, head, D, BLOCK_D)
        s = tl.dot(q, tl.trans(k), input_precision="ieee") * (scale * LOG2E)
        s = tl.where(key[None, :] < keys, s, float("-inf"))
        maximum, factor = rescale(maximum, tl.max(s, 1), 1.0)
        p = tl.exp2(s - maximum[:, None])
        total = total * factor + tl.sum(p, 1)
        if DROPOUT:
            octets = start // 8 + tl.arange(0, KEYS // 8)
            p *= dropout_factors(
                tl.load(p_seed), threshold, keep_scale, rows[:, None], octets[None, :], head
            )
        acc = acc * factor[:, None] + tl.dot(p.to(v.dtype), v, input_precision="ieee")
    total = tl.where(keys > 0, total, 1.0)
    _store_block(p_out, acc / total[:, None], out_token, rows, end, head, D, BLOCK_D)
    tl.store(p_lse + head.to(tl.int64) * R + rows, (maximum + tl.log2(total)) * LN2, rows < end)


@triton.jit
def _softmax_gradient(
    q, k, v, dout, delta, lse, m_keys, scale, p_seed, threshold, keep_scale, rows, first_octet,
    head, DROPOUT: tl.constexpr,
):  # fmt: skip
    """P M and dS (rows, keys) in the dtype of the operands. lse is of base 2, inf for rows that do
    not exist.
    """
    s = tl.dot(q, tl.trans(k), input_precision="ieee") * (scale * LOG2E)
    p = tl.where(m_keys[None, :], tl.exp2(s - lse[:, None]), 0.0)
    dp = tl.dot(dout, tl.trans(v), input_precision="ieee")
    kept = p
    if DROPOUT:
        octets = first_octet + tl.arange(0, m_keys.shape[0] // 8)
        factor = dropout_factors(
            tl.load(p_seed), threshold, keep_scale, rows[:, None], octets[None, :], head
        )
        dp *= factor
        kept *= factor
    return kept.to(q.dtype), (p * (dp - delta[:, None])).to(q.dtype)


@triton.jit
def _load_queries(
    p_q, p_dout, p_out, p_lse, q_token, out_token, rows, end, head, R, D: tl.constexpr,
    BLOCK_D: tl.constexpr,
):  # fmt: skip
    """q and do of a block of rows, delta = rowsum(do o), and lse to base 2."""
    q = _load_block(p_q, q_token, rows, end, head, D, BLOCK_D)
    dout = _load_block(p_dout, out_token, rows, end, head, D, BLOCK_D)
    out = _load_block(p_out, out_token, rows, end, head, D, BLOCK_D)
    delta = tl.sum(dout.to(tl.float32) * out.to(tl.float32), 1)
    lse = tl.load(p_lse + head.to(tl.int64) * R + rows, rows < end, other=float("inf")) * LOG2E
    return q, dout, delta, lse


@triton.jit(do_not_specialize=("R",))
def _backward_whole_kernel(
    p_q, p_k, p_v, p_dout, p_out, p_lse, p_dq, p_dk, p_dv, p_cu_q, p_cu_k, p_seed,  # pointers
    q_token, k_token, v_token, out_token, dq_token, dk_token, dv_token,  # strides
    R, H, scale, threshold, keep_scale,  # sizes and numbers
    D: tl.constexpr, BLOCK_D: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    DROPOUT: tl.constexpr, BLOCKS: tl.constexpr,
):  # fmt: skip
    head, sequence = tl.program_id(0) % H, tl.program_id(0) // H
    first_row, n = _tokens(p_cu_q, sequence)
    first_key, keys = _tokens(p_cu_k, sequence)
    end_key = first_key + keys
    dq = (tl.zeros((ROWS, BLOCK_D), tl.float32),) * BLOCKS
    for start in range(0, keys, KEYS):
        key = start + tl.arange(0, KEYS)
        k = _load_block(p_k, k_token, first_key + key, end_key, head, D, BLOCK_D)
        v = _load_block(p_v, v_token, first_key + key, end_key, head, D, BLOCK_D)
        dk = tl.zeros((KEYS, BLOCK_D), tl.float32)
        dv = tl.zeros((KEYS, BLOCK_D), tl.float32)
        for block in tl.static_range(BLOCKS):
            if block * ROWS < n:
                # Read anew, or the addresses of all blocks would be computed before the loop and
                # take registers throughout.
                first, count = _tokens(p_cu_q, sequence)
                rows = first + block * ROWS + tl.arange(0, ROWS)
                q, dout, delta, lse = _load_queries(
                    p_q, p_dout, p_out, p_lse, q_token, out_token, rows, first + count, head, R, D,
                    BLOCK_D,
                )  # fmt: skip
                kept, ds = _softmax_gradient(
                    q, k, v, dout, delta, lse, key < keys, scale, p_seed, threshold, keep_scale,
                    rows, start // 8, head, DROPOUT,
                )  # fmt: skip
                dv += tl.dot(tl.trans(kept), dout, input_precision="ieee")
                dk += tl.dot(tl.trans(ds), q, input_precision="ieee")
                dq_of_block = dq[block] + tl.dot(ds, k, input_precision="ieee")
                dq = dq[:block] + (dq_of_block,) + dq[block + 1 :]  # noqa: RUF005
        _store_block(p_dv, dv, dv_token, first_key + key, end_key, head, D, BLOCK_D)
        _store_block(p_dk, dk * scale, dk_token, first_key + key, end_key, head, D, BLOCK_D)
    for block in tl.static_range(BLOCKS):
        rows = first_row + block * ROWS + tl.arange(0, ROWS)
        _store_block(p_dq, dq[block] * scale, dq_token, rows, first_row + n, head, D, BLOCK_D)


@triton.jit(do_not_specialize=("R", "blocks"))
def _backward_keys_kernel(
    p_q, p_k, p_v, p_dout, p_out, p_lse, p_dk, p_dv, p_cu_q, p_cu_k, p_seed,  # pointers
    q_token, k_token, v_token, out_token, dk_token, dv_token,  # strides
    R, H, blocks, scale, threshold, keep_scale,  # sizes and numbers
    D: tl.constexpr, BLOCK_D: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    DROPOUT: tl.constexpr,
):  # fmt: skip
    block, head, sequence = _place(blocks, H)
    first_row, n = _tokens(p_cu_q, sequence)
    first_key, keys = _tokens(p_cu_k, sequence)
    if block * KEYS >= keys:
        return
    key, end_key = block * KEYS + tl.arange(0, KEYS), first_key + keys
    k = _load_block(p_k, k_token, first_key + key, end_key, head, D, BLOCK_D)
    v = _load_block(p_v, v_token, first_key + key, end_key, head, D, BLOCK_D)
    dk = tl.zeros((KEYS, BLOCK_D), tl.float32)
    dv = tl.zeros((KEYS, BLOCK_D), tl.float32)
    for start in range(0, n, ROWS):
        rows = first_row + start + tl.arange(0, ROWS)
        q, dout, delta, lse = _load_queries(
            p_q, p_dout, p_out, p_lse, q_token, out_token, rows, first_row + n, head, R, D, BLOCK_D
        )
        kept, ds = _softmax_gradient(
            q, k, v, dout, delta, lse, key < keys, scale, p_seed, threshold, keep_scale, rows,
            block * (KEYS // 8), head, DROPOUT,
        )  # fmt: skip
        dv += tl.dot(tl.trans(kept), dout, input_precision="ieee")
        dk += tl.dot(tl.trans(ds), q, input_precision="ieee")
    _store_block(p_dv, dv, dv_token, first_key + key, end_key, head, D, BLOCK_D)
    _store_block(p_dk, dk * scale, dk_token, first_key + key, end_key, head, D, BLOCK_D)


@triton.jit(do_not_specialize=("R", "blocks"))
def _backward_rows_kernel(
    p_q, p_k, p_v, p_dout, p_out, p_lse, p_dq, p_cu_q, p_cu_k, p_seed,  # pointers
    q_token, k_token, v_token, out_token, dq_token,  # strides
    R, H, blocks, scale, threshold, keep_scale,  # sizes and numbers
    D: tl.constexpr, BLOCK_D: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    DROPOUT: tl.constexpr,
):  # fmt: skip
    block, head, sequence = _place(blocks, H)
    first_row, n = _tokens(p_cu_q, sequence)
    first_key, keys = _tokens(p_cu_k, sequence)
    if block * ROWS >= n:
        return
    rows, end = first_row + block * ROWS + tl.arange(0, ROWS), first_row + n
    q, dout, delta, lse = _load_queries(
        p_q, p_dout, p_out, p_lse, q_token, out_token, rows, end, head, R, D, BLOCK_D
    )
    dq = tl.zeros((ROWS, BLOCK_D), tl.float32)
    for start in range(0, keys, KEYS):
        key = start + tl.arange(0, KEYS)
        k = _load_block(p_k, k_token, first_key + key, first_key + keys, head, D, BLOCK_D)
        v = _load_block(p_v, v_token, first_key + key, first_key + keys, head, D, BLOCK_D)
        _, ds = _softmax_gradient(
            q, k, v, dout, delta, lse, key < keys, scale, p_seed, threshold, keep_scale, rows,
            start // 8, head, DROPOUT,
        )  # fmt: skip
        dq += tl.dot(ds, k, input_precision="ieee")
    _store_block(p_dq, dq * scale, dq_token, rows, end, head, D, BLOCK_D)


def _operands(
    q: Tensor, k: Tensor, v: Tensor, packing: Packing
) -> dict[str, Tensor | float | bool]:
    """What all kernels take."""
    seed, threshold, keep_scale, drops = dropout_arguments(packing.dropout_p, packing.seed, q)
    rows, heads, d = q.shape
    pointers = {"p_q": q, "p_k": k, "p_v": v, "p_seed": seed}
    pointers |= {
        "p_cu_q": packing.cu_seqlens_q.contiguous(),
        "p_cu_k": packing.cu_seqlens_k.contiguous(),
    }
    strides = {"q_token": q.stride(0), "k_token": k.stride(0), "v_token": v.stride(0)}
    sizes = {
        "R": rows,
        "H": heads,
        "scale": packing.scale,
        "threshold": threshold,
        "keep_scale": keep_scale,
    }
    return pointers | strides | sizes | {"D": d, "BLOCK_D": block_columns(d), "DROPOUT": drops}


def _blocks(tile: tiles.Tile) -> dict[str, int]:
    return {"ROWS": tile.rows, "KEYS": tile.columns} | tile.options


def _whole(d: int, dtype: torch.dtype, longest: int) -> dict[str, int] | None:
    """Blocks for a backward that holds dq of all rows of a sequence; None where it does not fit
    into registers.
    """
    if not tiles.fits("attention whole", d, dtype):
        return None
    tile = tiles.tile("attention whole", d, dtype)
    # So that few lengths compile anew.
    count = triton.next_power_of_2(max(1, triton.cdiv(longest, tile.rows)))
    fits = count * tile.rows <= min(MOST_ROWS, MOST_HELD // block_columns(d))
    return {"BLOCKS": count, **_blocks(tile)} if fits else None


def _has_kernel(q: Tensor, *_) -> bool:
    return tiles.fits("attention forward", q.shape[2], q.dtype)


def _has_backward(dout: Tensor, q: Tensor, *_) -> bool:
    """Not for fp32 with 65 to 127 columns a head, if 16 does not divide them: those blocks all
    spill.
    """
    return tiles.fits("attention tiled", q.shape[2], q.dtype)


@held_if(_has_kernel)
def attention(q: Tensor, k: Tensor, v: Tensor, *packing) -> tuple[Tensor, Tensor]:
    q, k, v, packing = heads_together(q), heads_together(k), heads_together(v), Packing(*packing)
    rows, heads, d = q.shape
    out, lse = q.new_empty(rows, heads, d), q.new_empty((heads, rows), dtype=torch.float32)
    tile = tiles.tile("attention forward", d, q.dtype)
    blocks = triton.cdiv(packing.max_seqlen_q, tile.rows)
    if rows:
        _forward_kernel[((packing.cu_seqlens_q.shape[0] - 1) * heads * blocks,)](
            **_operands(q, k, v, packing),
            p_out=out,
            p_lse=lse,
            out_token=out.stride(0),
            blocks=blocks,
            **_blocks(tile),
        )
    return out, lse


@held_if(_has_backward)
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
    dout, q, k, v = dout.contiguous(), heads_together(q), heads_together(k), heads_together(v)
    out, lse, packing = out.contiguous(), lse.contiguous(), Packing(*packing)
    units, d = (packing.cu_seqlens_q.shape[0] - 1) * q.shape[1], q.shape[2]
    if not units:
        return
    operands = _operands(q, k, v, packing)
    operands |= {"p_dout": dout, "p_out": out, "p_lse": lse, "out_token": dout.stride(0)}
    of_q = {"p_dq": dq, "dq_token": dq.stride(0)}
    of_k = {"p_dk": dk, "p_dv": dv, "dk_token": dk.stride(0), "dv_token": dv.stride(0)}
    if whole := _whole(d, q.dtype, packing.max_seqlen_q):
        _backward_whole_kernel[(units,)](**operands, **of_q, **of_k, **whole)
        return
    tile = tiles.tile("attention tiled", d, q.dtype)
    blocks_q, blocks_k = (
        triton.cdiv(packing.max_seqlen_q, tile.rows),
        triton.cdiv(packing.max_seqlen_k, tile.columns),
    )
    if blocks_k:
        _backward_keys_kernel[(units * blocks_k,)](
            **operands, **of_k, blocks=blocks_k, **_blocks(tile)
        )
    if blocks_q:
        _backward_rows_kernel[(units * blocks_q,)](
            **operands, **of_q, blocks=blocks_q, **_blocks(tile)
        )


OPERATORS = (attention, attention_gradients)
