"""The running maximum of a softmax that sees its logits a block at a time (Milakov and Gimelshein
2018).
"""

from __future__ import annotations

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)


@triton.jit
def rescale(maximum, of_block, UNIT: tl.constexpr):
    """The maximum of both, and what sums of exponentials less the first are to be multiplied by.

    UNIT: what a logit counts in exponents of base 2: LOG2E, or 1.0 where it counts already.
    """
    new = tl.maximum(maximum, of_block, propagate_nan=tl.PropagateNan.ALL)
    return new, tl.exp2((maximum - new) * UNIT)
