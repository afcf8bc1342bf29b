"""Finds the largest block that compiles without a fault, for every product kernel, dtype and number
of columns, and prints the table.

    python -m tests.without_a_gpu.screen NVIDIA "half, unaligned" > table.txt
    python -m tests.without_a_gpu.screen AMD single "linear backward" rank     # these kernels alone

In b4r_fast/backends/triton/tiles.py the table is held to by test_triton_compiles.py; it needs
screening again when a kernel changes. A block is tried in all its forms (configurations.py). What
is aligned has 16 as a divisor of its sizes.
"""

from __future__ import annotations

import sys
from itertools import product

from .compiler import DTYPES, choose, faults, install

FAMILIES = {
    "NVIDIA": ("sm_80", "sm_90", "sm_100"),
    "H100": ("sm_90", "sm_100"),
    "RTX": ("sm_86", "sm_120"),
    "AMD": ("gfx942",),
}
PRECISIONS = {"half": "bf16", "single": "fp32"}

# Rows times items times columns of operands: above it fp32 products, whose operands are held in
# registers, spill on NVIDIA's targets, and take minutes to compile.
SINGLE_MOST = 1 << 18


class Unfit(Exception):
    """A launch has a fault."""


def candidates(kernel: str) -> list[tuple[int, ...]]:
    """The best first: the most products a load, then the fewest warps."""
    if kernel == "rank":
        return [(size, size, warps) for size in (64, 32, 16) for warps in (4, 8)]
    if kernel == "topk":
        return [(16, columns, warps) for columns in (128, 64, 32, 16) for warps in (4, 8)]
    if kernel == "attention whole":
        return [
            (rows, keys, warps) for rows in (64, 32, 16) for keys in (32, 16) for warps in (4, 8)
        ]
    if kernel.startswith(("linear", "layer_norm")):
        return [(rows, 0, warps) for rows in (128, 64, 32, 16) for warps in (4, 8, 16)]
    sizes = [(rows, columns) for rows in (128, 64, 32, 16) for columns in (64, 32, 16)]
    return [
        (*size, warps)
        for size in sorted(sizes, key=lambda s: (s[0] * s[1], s[0]), reverse=True)
        for warps in (4, 8, 16)
    ]


def with_registers(family: str, tiles: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Each as ptxas likes it, and if that spills with all registers."""
    return (
        tiles if family == "AMD" else [(*tile, *more) for tile in tiles for more in ((), (True,))]
    )


def blocks_of(most: int) -> dict[int, list[int]]:
    """The table's keys, and the blocks of columns that each is for."""
    blocks = (16, 32, 64, 128, 256)[: 5 if most == 256 else 4]
    return {key: [b for b in blocks if b == key or b < key == blocks[-3]] for key in blocks[-3:]}


def screen(family: str, form: str, chosen: list[str]) -> dict[str, dict[int, tuple[int, ...]]]:
    wanted: set[str] = set()
    precision, _, unaligned = form.partition(", ")
    dtype = PRECISIONS[precision]

    def refuse(row: dict, operands: int) -> None:
        if faults(row | {"dtype": dtype}):
            raise Unfit

    install(refuse, wanted.__contains__)
    from b4r_fast.backends.triton import tiles

    from .configurations import PRODUCTS

    def fits(kernel: str, tile: tuple[int, ...], blocks: list[int]) -> bool:
        if precision == "single" and tile[0] * (tile[1] or blocks[-1]) * blocks[-1] > SINGLE_MOST:
            return False
        tiles.TABLE = {
            name: {precision: {key: {1 << 20: tile} for key in PRODUCTS}} for name in FAMILIES
        }
        try:
            for block, target in product(blocks[::-1], FAMILIES[family]):
                choose(target)
                PRODUCTS[kernel].launch(block - 1 if unaligned else block, DTYPES[dtype])
        except Unfit:
            return False
        return True

    table: dict = {}
    for kernel in (name for name in PRODUCTS if name in chosen or not chosen):
        wanted.clear()
        wanted.update(PRODUCTS[kernel].kernels)
        for key, blocks in blocks_of(PRODUCTS[kernel].most).items():
            tile = next(
                (t for t in with_registers(family, candidates(kernel)) if fits(kernel, t, blocks)),
                None,
            )
            print(family, form, kernel, key, tile, file=sys.stderr, flush=True)
            if tile:
                table.setdefault(kernel, {})[key] = tile
    return table


if __name__ == "__main__":
    print(screen(sys.argv[1], sys.argv[2], sys.argv[3:]))
