"""What the ops share that take the layer norm of a product: residual_linear_layer_norm and
linear_gelu_layer_norm.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from . import tiles
from .rows import block_columns, store_rows

# In the table of tiles.
FORWARD, BACKWARD = "layer_norm of product, forward", "layer_norm of product, backward"


@triton.jit
def store_partials(
    p_partials, dw, db, dweight, dbias, IN, D, BLOCK_IN: tl.constexpr, BLOCK_D: tl.constexpr
):
    """Of a program: dw (D, IN), db, dweight, dbias (D,), one after the other."""
    columns = tl.arange(0, BLOCK_D)
    p_partials += tl.program_id(0).to(tl.int64) * (D * IN + 3 * D)
    store_rows(p_partials, dw, columns, D, IN, BLOCK_IN)
    p_partials += D * IN + columns
    tl.store(p_partials, db, columns < D)
    tl.store(p_partials + D, dweight, columns < D)
    tl.store(p_partials + 2 * D, dbias, columns < D)


def fits(kernel: str, w: Tensor) -> bool:
    """Whether w (d, in) is about as wide as high, as in a model, and the table has a
    block for it.
    """
    d, size_in = w.shape
    return block_columns(d) == block_columns(size_in) and tiles.fits(kernel, d, w.dtype, size_in)


def constants(kernel: str, w: Tensor) -> dict[str, int]:
    """Backward: one stage, as a program has a block of rows or two, and loads ahead of their use
    would only take registers.
    """
    d, size_in = w.shape
    block = tiles.tile(kernel, d, w.dtype, size_in)
    extents = {
        "BLOCK_IN": block_columns(size_in),
        "BLOCK_D": block_columns(d),
        "ROWS": block.rows,
    } | block.options
    return extents | {"num_stages": 1} if kernel == BACKWARD else extents
