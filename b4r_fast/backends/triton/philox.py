"""Random bits in Triton, the same as everywhere: docs/dropout.md."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from ..reference.philox import ROUNDS, dropout_scale, dropout_threshold

_ROUNDS = tl.constexpr(ROUNDS)


@triton.jit
def dropout_factors(seed, threshold, scale, rows, octets, group):
    """0 or scale for each of (R, 8 G) elements: rows (R, 1) and octets (1, G) of eight columns
    each, integers; seed: int64 scalar.
    """
    zero = rows * 0 + octets * 0
    w0, w1, w2, w3 = tl.philox(seed, zero + rows, zero + octets, zero + group, zero, _ROUNDS)
    # (R, G, 2, 2): words 0 to 3 in order; then their low and high halves: fields 0 to 7.
    words = tl.join(tl.join(w0, w2), tl.join(w1, w3))
    fields = tl.join(words & 0xFFFF, words >> 16)
    kept = (fields ^ 0x8000) >= threshold
    return tl.reshape(tl.where(kept, scale, 0.0), (rows.shape[0], octets.shape[1] * 8))


@triton.jit
def random_words(seed, index, stream):
    """Words of a stream as int64 in [0, 2^32): number n is word n mod 4 of counter (n div 4, 0, 0,
    stream). index: int32.
    """
    zero = index * 0
    w0, w1, w2, w3 = tl.philox(seed, index // 4, zero, zero, zero + stream, _ROUNDS)
    place = index % 4
    return (
        tl.where(place == 0, w0, tl.where(place == 1, w1, tl.where(place == 2, w2, w3)))
        .to(tl.uint32)
        .to(tl.int64)
    )


@triton.jit
def random_pairs(seed, index):
    """Two words as int64 in [0, 2^32) for each number: words 2 (n mod 2) and 2 (n mod 2) + 1 of
    counter (n div 2). index: int64.
    """
    call = index // 2
    low, high = (call & 0xFFFFFFFF).to(tl.uint32), (call >> 32).to(tl.uint32)
    w0, w1, w2, w3 = tl.philox(seed, low, high, low * 0, low * 0, _ROUNDS)
    first = index % 2 == 0
    return tl.where(first, w0, w2).to(tl.uint32).to(tl.int64), tl.where(first, w1, w3).to(
        tl.uint32
    ).to(tl.int64)


def dropout_arguments(
    dropout_p: float, seed: Tensor | None, like: Tensor
) -> tuple[Tensor, int, float, bool]:
    """The seed's tensor (any tensor where nothing is dropped: it is not read), threshold, scale,
    and whether anything is dropped.
    """
    if seed is None or dropout_p == 0.0:
        return like, 0, 1.0, False
    return seed, dropout_threshold(dropout_p), dropout_scale(dropout_p), True
