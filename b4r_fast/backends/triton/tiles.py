"""Which blocks the product kernels work in: docs/gpu.md says how they were screened."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from itertools import product
from typing import NamedTuple

import torch

from .rows import block_columns
from .target import all_registers, architecture, on_amd
from .tile_table import TABLE


class Tile(NamedTuple):
    """Rows and columns of a block of products (logits, scores, hidden activations), and how many
    warps share it.

    columns: 0 where a block has all there are. all_registers: a thread may have all that there are
    for one, where ptxas else spills some to fit another program beside it.
    """

    rows: int
    columns: int
    warps: int
    all_registers: bool = False

    @property
    def options(self) -> dict[str, int]:
        """For a launch."""
        return {"num_warps": self.warps} | (all_registers(self.warps) if self.all_registers else {})


class Form(NamedTuple):
    """What has a tile of its own. columns: of a block. aligned: 16 divides all sizes."""

    kernel: str
    columns: int
    dtype: torch.dtype
    aligned: bool


TUNED: dict[Form, Tile] = {}  # what comes before the table (tuning.py)
# Notes which tiles an op asks for.
ASKED: ContextVar[dict[Form, Tile] | None] = ContextVar("ASKED", default=None)


def _families() -> tuple[str, ...]:
    """The parts of TABLE for this GPU: the first entry counts."""
    if on_amd():
        return ("AMD",)
    arch = architecture()
    if arch // 10 in (9, 10):
        return ("H100", "NVIDIA")
    return ("NVIDIA",) if arch in (80, 87) else ("RTX", "NVIDIA")


def _sizes(kernel: str, dtype: torch.dtype, sizes: Sequence[int]) -> dict[int, tuple]:
    """What the table has for a kernel, by the columns of a block."""
    precision = "single" if dtype == torch.float32 else "half"
    forms = [f"{precision}, unaligned"] if any(size % 16 for size in sizes) else []
    for form, family in product([*forms, precision], _families()):
        if kernel in TABLE[family].get(form, {}):
            return TABLE[family][form][kernel]
    raise KeyError(
        f"the table of tiles has no {kernel!r}; it has {', '.join(TABLE['NVIDIA'][precision])}"
    )


def fits(kernel: str, d: int, dtype: torch.dtype, *others: int) -> bool:
    """Whether there is a block of the kernel, for operands of these sizes (as for tile), that does
    not spill.
    """
    return block_columns(d) <= max(_sizes(kernel, dtype, (d, *others)))


def tile(kernel: str, d: int, dtype: torch.dtype, *others: int) -> Tile:
    """kernel: as in TABLE. d: columns of the operands. others: what else separates numbers that lie
    one below the other.
    """
    sizes = (d, *others)
    form = Form(kernel, block_columns(d), dtype, not any(size % 16 for size in sizes))
    chosen = TUNED.get(form) or next(
        Tile(*t) for most, t in _sizes(kernel, dtype, sizes).items() if form.columns <= most
    )
    if (asked := ASKED.get()) is not None:
        asked[form] = chosen
    return chosen
