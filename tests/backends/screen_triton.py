"""Finds the largest block that compiles without a fault, for every product kernel, dtype and number of columns, and prints the table.

    python -m tests.backends.screen_triton > table.txt
    python -m tests.backends.screen_triton "linear backward" rank     # these kernels alone

In b4r_fast/backends/triton/tiles.py the table is held to by test_triton_compiles.py; it needs screening again when a kernel changes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch

from .compile_triton import choose, faults, install

FAMILIES = {"NVIDIA": ("sm_80", "sm_90", "sm_100"), "H100": ("sm_90", "sm_100"), "AMD": ("gfx942",)}
KERNELS_OF_FAMILY = {"H100": ("attention whole",)}  # of the others all
PRECISIONS = {"half": torch.bfloat16, "single": torch.float32}
T, R, V, F = 300, 200, 500, 256


def kernels() -> dict[str, tuple[list[str], Callable]]:
    """What a tile is for: the kernels that it describes, and a call that launches them."""
    from b4r_fast.backends.triton import (
        attention,
        gelu_ffn,
        linear,
        linear_gelu_layer_norm,
        rank,
        residual_ffn_layer_norm,
        residual_linear_layer_norm,
        softmax_loss,
        topk,
    )

    cu_k, cu_q = torch.tensor([0, 100, T], dtype=torch.int32), torch.tensor([0, 100, R], dtype=torch.int32)
    seed, targets = torch.tensor(1), torch.zeros(R, dtype=torch.int64)

    def attend(d, dtype, rows, cu_q, most_rows, backward):
        q, k = torch.empty(rows, 2, d, dtype=dtype), torch.empty(T, 2, d, dtype=dtype)
        sizes = (cu_q, cu_k, most_rows, T, 0.1, 0.1, seed)
        if not backward:
            return attention.attention(q, k, k, *sizes)
        return attention.attention_backward(q, q, k, k, q, torch.empty(2, rows), *sizes)

    def feed(d, dtype, backward):
        x, w1, w2 = torch.empty(T, d, dtype=dtype), torch.empty(F, d, dtype=dtype), torch.empty(d, F, dtype=dtype)
        for approximate in ("none", "tanh"):
            if backward:
                gelu_ffn.gelu_ffn_backward(x, x, w1, w1[:, 0], w2, approximate)
            else:
                gelu_ffn.gelu_ffn(x, w1, w1[:, 0], w2, w2[:, 0], approximate)

    def feed_and_add(d, dtype, backward):
        x, w1, w2 = torch.empty(T, d, dtype=dtype), torch.empty(F, d, dtype=dtype), torch.empty(d, F, dtype=dtype)
        row = torch.empty(T)
        for approximate in ("none", "tanh"):
            if backward:
                network = (x, w1, w1[:, 0], w2, x, w2[:, 0], row, row)
                residual_ffn_layer_norm.residual_ffn_layer_norm_backward(x, *network, approximate, 0.1, seed)
            else:
                network = (x, w1, w1[:, 0], w2, w2[:, 0], w2[:, 0], w2[:, 0])
                residual_ffn_layer_norm.residual_ffn_layer_norm(*network, 1e-12, approximate, 0.1, seed)

    def norm_of_product(d, dtype, backward):
        x, row = torch.empty(T, d, dtype=dtype), torch.empty(T)
        for size_in in (d, d - 1):  # which is no multiple of 16, so its masks take registers
            a, w = torch.empty(T, size_in, dtype=dtype), torch.empty(d, size_in, dtype=dtype)
            vector = w[:, 0]
            for dropout_p in (0.1, 0.0):
                if backward:
                    residual_linear_layer_norm.residual_linear_layer_norm_backward(x, a, w, x, x, vector, row, row, dropout_p, seed)
                else:
                    residual_linear_layer_norm.residual_linear_layer_norm(a, w, vector, x, vector, vector, 1e-12, dropout_p, seed)
            for approximate in ("none", "tanh"):
                if backward:
                    linear_gelu_layer_norm.linear_gelu_layer_norm_backward(x, a, w, x, vector, row, row, approximate)
                else:
                    linear_gelu_layer_norm.linear_gelu_layer_norm(a, w, vector, vector, vector, 1e-12, approximate)

    def project(d, dtype):
        x, dy, w = (torch.empty(*shape, dtype=dtype) for shape in ((T, linear.MOST_IN), (T, d), (d, linear.MOST_IN)))
        linear.partial_gradients(dy, x, w)

    def table(d, dtype):
        return torch.empty(R, d, dtype=dtype), torch.empty(V, d, dtype=dtype), torch.empty(V, dtype=dtype)

    def backward_of_loss(d, dtype):
        row = torch.zeros(R)
        hidden, items, bias = table(d, dtype)
        softmax_loss.softmax_loss_backward(row, hidden, items, bias, targets, row, row)
        softmax_loss.backward_columns(row, hidden, items, bias, targets, row, row, torch.zeros(V, dtype=torch.int64), torch.float32)

    def forward_of_loss(d, dtype):
        hidden, items, bias = table(d, dtype)
        softmax_loss.softmax_loss(hidden, items, bias, targets)
        softmax_loss.forward_columns(hidden, items, bias, targets, items, bias, torch.zeros(V, dtype=torch.int64))

    def ranks(d, dtype):
        hidden, items, bias = table(d, dtype)
        for some in (bias, None):
            rank.rank(hidden, items, some, targets, *exclude)

    def best(d, dtype):
        hidden, items, bias = table(d, dtype)
        for some in (bias, None):
            topk.topk(hidden, items, some, 10, *exclude, None)

    exclude = torch.zeros(9, dtype=torch.int64), torch.linspace(0, 9, R + 1).int()
    return {
        "attention forward": (["_forward_kernel"], lambda d, dtype: attend(d, dtype, T, cu_k, T, False)),
        "attention whole": (["_backward_whole_kernel"], lambda d, dtype: attend(d, dtype, T, cu_k, ROWS[0], True)),
        "attention tiled": (
            ["_backward_keys_kernel", "_backward_rows_kernel"],
            lambda d, dtype: attend(d, dtype, R, cu_q, T, True),
        ),
        "gelu_ffn forward": (["_forward_kernel"], lambda d, dtype: feed(d, dtype, False)),
        "gelu_ffn dx": (["_dx_kernel"], lambda d, dtype: feed(d, dtype, True)),
        "gelu_ffn weights": (["_dweight_kernel"], lambda d, dtype: feed(d, dtype, True)),
        "linear backward": (["_backward_kernel"], project),
        "layer_norm of product, forward": (["_forward_kernel"], lambda d, dtype: norm_of_product(d, dtype, False)),
        "layer_norm of product, backward": (["_backward_kernel"], lambda d, dtype: norm_of_product(d, dtype, True)),
        "residual_ffn forward": (["_forward_kernel"], lambda d, dtype: feed_and_add(d, dtype, False)),
        "residual_ffn dx": (["_dx_kernel"], lambda d, dtype: feed_and_add(d, dtype, True)),
        "softmax_loss forward": (["_forward_kernel"], forward_of_loss),
        "softmax_loss backward": (["_backward_kernel"], backward_of_loss),
        "rank": (["_count_kernel", "_excluded_kernel"], ranks),
        "topk": (["_best_kernel"], best),
    }


# Rows times items times columns of operands: above it fp32 products, whose operands are held in registers, spill on NVIDIA's targets, and
# take minutes to compile.
SINGLE_MOST = 1 << 18

ROWS = [0]  # of the longest sequence, for "attention whole"


def candidates(kernel: str) -> list[tuple[int, int, int]]:
    """The best first: the most products a load, then the fewest warps."""
    if kernel == "rank":
        return [(size, size, warps) for size in (64, 32, 16) for warps in (4, 8)]
    if kernel == "topk":
        return [(16, columns, warps) for columns in (128, 64, 32, 16) for warps in (4, 8)]
    if kernel == "attention whole":
        return [(rows, keys, warps) for rows in (256, 128, 64, 32, 16) for keys in (32, 16) for warps in (8, 4)]
    if kernel.startswith(("linear", "layer_norm")):
        return [(rows, 0, warps) for rows in (128, 64, 32, 16) for warps in (4, 8, 16)]
    sizes = [(rows, columns) for rows in (128, 64, 32, 16) for columns in (64, 32, 16)]
    return [(*size, warps) for size in sorted(sizes, key=lambda s: (s[0] * s[1], s[0]), reverse=True) for warps in (4, 8)]


def columns_of(kernel: str) -> tuple[int, ...]:
    return (64, 128, 256) if kernel.startswith(("linear", "softmax_loss", "rank", "topk")) else (32, 64, 128)


def screen(chosen: list[str]) -> dict:
    launched = install()
    from b4r_fast.backends.triton import tiles

    table: dict = {}
    for family, targets in FAMILIES.items():
        for precision, dtype in PRECISIONS.items():
            of_family = KERNELS_OF_FAMILY.get(family, kernels())
            for kernel in (name for name in of_family if name in chosen or not chosen):
                names, call = kernels()[kernel]
                for d in columns_of(kernel):
                    for candidate in candidates(kernel):
                        if precision == "single" and candidate[0] * (candidate[1] or d) * d > SINGLE_MOST:
                            continue
                        small, tried = {1 << 20: tiles.Tile(16, 16, 4)}, {1 << 20: tiles.Tile(*candidate)}
                        blocks = {precision: {key: tried if key == kernel else small for key in kernels()}}
                        tiles.TABLE = {"H100": blocks, "NVIDIA": blocks, "AMD": blocks}
                        ROWS[0] = candidate[0]
                        if all(_fits(launched, target, names, call, d, dtype) for target in targets):
                            table.setdefault(family, {}).setdefault(precision, {}).setdefault(kernel, {})[d] = candidate
                            print(family, precision, kernel, d, candidate, file=sys.stderr, flush=True)
                            break
                    else:
                        print(family, precision, kernel, d, "none", file=sys.stderr, flush=True)
    return table


def _fits(launched: list[dict], target: str, names: list[str], call: Callable, d: int, dtype: torch.dtype) -> bool:
    choose(target)
    before = len(launched)
    call(d, dtype)
    name = "fp32" if dtype == torch.float32 else "bf16"
    return not any(faults(row | {"dtype": name}) for row in launched[before:] if row["kernel"] in names)


if __name__ == "__main__":
    print(screen(sys.argv[1:]))
