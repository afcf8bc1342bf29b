"""The layer norm of a block of rows in registers, forward and backward: what residual_layer_norm
and embedding_layer_norm share.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .target import all_registers

# Elements of a block, at 128 threads: 32 a thread; half of that in the backward, which spills 270
# to 430 bytes a thread with 32.
FORWARD_ELEMENTS, BACKWARD_ELEMENTS = 4096, 2048


def blocks(d: int, elements: int) -> dict[str, int]:
    """Row and column extents of a block: all columns of as many rows as it may hold elements. A row
    that is more has more threads.
    """
    block_d = max(triton.next_power_of_2(d), 8)
    warps = 4 * max(1, min(8, block_d // elements))
    return {"ROWS": max(1, elements // block_d), "BLOCK_D": block_d, "num_warps": warps}


def backward_blocks(d: int) -> dict[str, int]:
    extents = blocks(d, BACKWARD_ELEMENTS)
    return extents | all_registers(extents["num_warps"])


@triton.jit
def normalise(z, p_weight, p_bias, D, eps, BLOCK_D: tl.constexpr):
    """y, mean and 1 / deviation of the rows of z, which is 0 beyond column D."""
    columns = tl.arange(0, BLOCK_D)
    mean = tl.sum(z, 1) / D
    centred = tl.where(columns[None, :] < D, z - mean[:, None], 0.0)
    rstd = 1.0 / tl.sqrt(tl.sum(centred * centred, 1) / D + eps)
    weight, bias = load_vector(p_weight, columns, D), load_vector(p_bias, columns, D)
    return centred * rstd[:, None] * weight[None, :] + bias[None, :], mean, rstd


@triton.jit
def gradient(dy, z, weight, mean, rstd, m_block, D):
    """dz, and the normalised rows n that dweight = sum of dy n needs."""
    n = tl.where(m_block, (z - mean[:, None]) * rstd[:, None], 0.0)
    g = dy * weight[None, :]
    return rstd[:, None] * (
        g - (tl.sum(g, 1) / D)[:, None] - n * (tl.sum(g * n, 1) / D)[:, None]
    ), n


@triton.jit
def load_vector(p_x, columns, d):
    """fp32, zeros beyond."""
    return tl.load(p_x + columns, columns < d, other=0.0).to(tl.float32)
