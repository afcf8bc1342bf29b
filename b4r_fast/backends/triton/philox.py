"""Dropout factors in Triton, from the same bits as everywhere: docs/dropout.md."""

import triton
import triton.language as tl

from ..reference.philox import ROUNDS

_ROUNDS = tl.constexpr(ROUNDS)


@triton.jit
def dropout_factors(seed, threshold, scale, rows, octets, group):
    """0 or scale for each of (R, 8 G) elements: rows (R, 1) and octets (1, G) of eight columns each, integers; seed: int64 scalar."""
    zero = rows * 0 + octets * 0
    w0, w1, w2, w3 = tl.philox(seed, zero + rows, zero + octets, zero + group, zero, _ROUNDS)
    # (R, G, 2, 2): words 0 to 3 in order; then their low and high halves: fields 0 to 7.
    words = tl.join(tl.join(w0, w2), tl.join(w1, w3))
    fields = tl.join(words & 0xFFFF, words >> 16)
    kept = (fields ^ 0x8000) >= threshold
    return tl.reshape(tl.where(kept, scale, 0.0), (rows.shape[0], octets.shape[1] * 8))
