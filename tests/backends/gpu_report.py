"""What the Triton kernels of a training step, and the CUDA kernels, would need of three GPUs, and how long at least, computed without one.

    python -m tests.backends.gpu_report      # or make gpu-report

Registers, shared memory and launches are read from what is compiled for the GPU; bytes and operations are counted, from the formulas at the
head of every kernel's file. A time here is the longest of what its products, exponentials and bytes take at the GPU's best rates: no kernel
is faster, and none has been measured.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TRITON_CACHE_DIR", str(Path(__file__).resolve().parents[2] / "build" / "triton"))

import numpy as np
import torch
from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

from benchmarks.workloads import LENGTHS

from . import compile_triton
from .cuda_resources import module


@dataclass(frozen=True)
class Gpu:
    """Rates a second from NVIDIA's data sheets: bf16 products, dense; bytes of memory; exponentials, 16 a clock and multiprocessor.

    shared: bytes of a multiprocessor, which has 65,536 registers and holds 64 warps.
    """

    target: str
    products: float
    bytes: float
    exponentials: float
    shared: int


GPUS = {
    "A100": Gpu("sm_80", products=312e12, bytes=2.04e12, exponentials=108 * 16 * 1.41e9, shared=164 << 10),
    "H100": Gpu("sm_90", products=989e12, bytes=3.35e12, exponentials=132 * 16 * 1.83e9, shared=228 << 10),
    "B200": Gpu("sm_100", products=2250e12, bytes=8.0e12, exponentials=148 * 16 * 1.85e9, shared=228 << 10),
}


UNITS = {"products": 1e9, "exponentials": 1e9, "bytes": 1e6}


@dataclass(frozen=True)
class Work:
    """Operations of products, exponentials (a GELU or its slope counts as one), and bytes of memory."""

    products: float
    exponentials: float
    bytes: float

    def __add__(self, other: Work) -> Work:
        return Work(self.products + other.products, self.exponentials + other.exponentials, self.bytes + other.bytes)

    def microseconds(self, gpu: Gpu) -> float:
        return 1e6 * max(self.products / gpu.products, self.exponentials / gpu.exponentials, self.bytes / gpu.bytes)


def works() -> dict[str, tuple[Work, Work]]:
    """Forward and backward of the parts of an ML-1M step in bf16: ours, and FlashAttention, cuBLAS, logits in memory, and PyTorch between.

    256 users with the real distribution of lengths, T tokens, of which R = T / 5 hidden; pairs: of rows and keys of a sequence. PyTorch
    reads and writes once for each of dropout (and a byte of mask), residual sum and norm, and twice the gradients of a norm's weights.
    """
    lengths = np.interp(np.linspace(0, 1, 256), np.linspace(0, 1, 21), LENGTHS["ml-1m"]).clip(max=200)
    d, f, H, V, P = 64, 256, 2, 3416, 200
    T, R, e = lengths.sum(), lengths.sum() / 5, 2

    def attention(rows: float, keys: float, pairs: float) -> tuple[Work, Work]:
        q, kv, statistics = rows * d * e, 2 * keys * d * e, 4 * rows * H
        ours = Work(4 * pairs * d, pairs * H, 2 * q + kv + statistics)
        ours += Work(10 * pairs * d, pairs * H, 4 * q + 2 * kv + statistics)
        # Its backward reads o and do once before, and adds up dq in fp32, which is set to 0, added to and rounded.
        theirs = Work(14 * pairs * d, 2 * pairs * H, 2 * q + kv + 6 * q + 2 * kv + 2 * statistics + 3 * 4 * rows * d)
        return ours, theirs

    def norm_of_torch(rows: float) -> float:
        """Bytes of dropout, sum and norm, forward and backward, without the sum of two gradients."""
        return rows * d * (e * (2 + 3 + 2) + 1 + e * (3 + 2 + 2) + 1)

    def linear(rows: float, size_in: float, size_out: float) -> tuple[Work, Work]:
        x, y = rows * size_in * e, rows * size_out * e
        products = 6 * rows * size_in * size_out
        return Work(products, 0, x + y + y + 2 * x), Work(products, 0, x + y + 3 * y + 2 * x)

    def residual_linear(rows: float) -> tuple[Work, Work]:
        x = rows * d * e
        return Work(6 * rows * d * d, 0, 4 * x + 6 * x), linear(rows, d, d)[1] + Work(0, 0, norm_of_torch(rows))

    def residual_ffn(rows: float) -> tuple[Work, Work]:
        x, hidden = rows * d * e, rows * f * e
        ours = Work(18 * rows * d * f, 5 * rows * f, 3 * x + 7 * x)
        theirs = Work(12 * rows * d * f, 2 * rows * f, 2 * x + 4 * hidden + 5 * x + 7 * hidden + 3 * x + norm_of_torch(rows))
        return ours, theirs

    def head() -> tuple[Work, Work]:
        x = R * d * e
        return Work(6 * R * d * d, 3 * R * d, 3 * x + 5 * x), linear(R, d, d)[1] + Work(0, 2 * R * d, (2 + 2 + 3 + 5) * x)

    def softmax() -> tuple[Work, Work]:
        h, table, logits = R * d * e, V * d * e, R * V
        ours = Work(8 * logits * d, 2 * logits, 3 * h + 3 * table + 2 * 4 * V * d)
        # Written as bf16; read, and written as fp32; log softmax and its gradient; then read twice as bf16.
        theirs = Work(6 * logits * d, 2 * logits, 3 * h + 3 * table + logits * (e + e + 4 + 8 + 8 + 4 + e + 2 * e))
        return ours, theirs

    def embedding() -> tuple[Work, Work]:
        x, tables = T * d * e, (V + P) * d * e
        keys = 2 * T * 12  # of 4 bytes, with 8 of an index; sorted by 8 bits at a time
        ours = Work(0, 0, 2 * x + 2 * x + 4 * T * d + 2 * 4 * T * d + tables + 4 * 2 * keys)
        theirs = Work(0, 0, (2 + 2 + 3 + 2 + 2) * x + T * d + (2 + 5) * x + T * d + 2 * x + 2 * tables + 8 * 2 * 2 * keys)
        return ours, theirs

    layer = 2 * d + 2 * d * f + 4 * d * d + 9 * d + f
    parameters = (V + 2 + P) * d + V + 2 * layer + d * d + 5 * d
    optimizer = Work(0, 0, 7 * parameters * e)
    projections = [sum_pair(linear(R, d, d), linear(T, d, 2 * d)), linear(T, d, 3 * d)]
    return {
        "embedding_layer_norm": embedding(),
        "linear, selected_projection": sum_pair(*projections),
        "attention": sum_pair(attention(T, T, (lengths**2).sum()), attention(R, T, (lengths**2).sum() / 5)),
        "residual_linear_layer_norm": sum_pair(residual_linear(T), residual_linear(R)),
        "residual_ffn_layer_norm": sum_pair(residual_ffn(T), residual_ffn(R)),
        "linear_gelu_layer_norm": head(),
        "softmax_loss": softmax(),
        "AdamW": (optimizer, optimizer),
    }


def sum_pair(first: tuple[Work, Work], *others: tuple[Work, Work]) -> tuple[Work, Work]:
    for other in others:
        first = first[0] + other[0], first[1] + other[1]
    return first


def resident_warps(row: dict, gpu: Gpu) -> int:
    """Of a multiprocessor's 64: what registers (given out 8 a thread at a time) and shared memory (1 KiB more a program) leave room for."""
    warps = row["num_warps"]
    registers = -(-row["registers"] // 8) * 8 * 32 * warps
    return warps * min(64 // warps, 65536 // registers, gpu.shared // (row["shared"] + 1024), 32)


def launches_of_step() -> tuple[list[str], dict[Gpu, list[dict]]]:
    """What a step launches, in order, and its kernels as they are compiled for each GPU."""
    launched: list[dict] = []
    compile_triton.install(launched.append)
    from .launches import launches, training_step  # only now, as the backend would find no GPU

    kernels = {}
    for gpu in GPUS.values():
        compile_triton.choose(gpu.target)
        launched.clear()
        launches(lambda: training_step(torch.bfloat16), note_kernels=False)
        kernels[gpu] = list({id(row): row for row in launched}.values())
    return launches(lambda: training_step(torch.bfloat16)), kernels


def table(title: str, *columns: str) -> Table:
    made = Table(title=title, title_justify="left", title_style="bold", box=MARKDOWN)
    for i, column in enumerate(columns):
        made.add_column(column, justify="left" if i == 0 else "right", overflow="fold")
    return made


def report(console: Console) -> None:
    console.print(
        "Computed, not measured: no kernel here has run on a GPU. ML-1M: 256 users, bf16, d=64, 2 layers, 2 heads, 3,416 items.\n"
    )
    names, rows = launches_of_step()
    kernels = table("Kernels: registers a thread, KiB of shared memory a program, warps resident of 64", "kernel", "blocks", "warps", *GPUS)
    described = {}  # those that are compiled twice for other tensors and come out alike stand once
    for same in zip(*rows.values(), strict=True):
        row = same[0]
        blocks = ", ".join(f"{name} {size}" for name, size in row.items() if name.isupper() and not isinstance(size, bool))
        cells = (f"{r['registers']}, {r['shared'] / 1024:.0f}, {resident_warps(r, gpu)}" for gpu, r in zip(rows, same))
        described[f"{row['op']} {row['kernel'].strip('_')}", blocks, str(row["num_warps"]), *cells] = None
    for row in described:
        kernels.add_row(*row)
    console.print(kernels)
    console.print(cuda_table() if module() else "CUDA kernels: not built here, for want of nvcc", style=None)
    times = table(
        "Forward and backward: the least time in microseconds, ours and of FlashAttention + cuBLAS + logits in memory",
        "part: ours, theirs", "GFLOP", "Gexp", "MB", *(f"{gpu} {whose}" for gpu in GPUS for whose in ("ours", "theirs")),
    )  # fmt: skip
    parts = works()
    for name, pair in parts.items():
        times.add_row(name, *_cells(pair), *(f"{w.microseconds(gpu):.1f}" for gpu in GPUS.values() for w in pair))
    sums = [[sum(pair[i].microseconds(gpu) for pair in parts.values()) for i in (0, 1)] for gpu in GPUS.values()]
    times.add_row("step", *_cells(sum_pair(*parts.values())), *(f"{x:.0f}" for pair in sums for x in pair))
    console.print(times)
    console.print(f"Launches of a step, masks, dropout and AdamW included: {len(names)}", style="bold")
    for name, count in Counter(names).most_common():
        console.print(f"  {count:2} {name}")


def cuda_kernels() -> list[dict]:
    """Of the CUDA kernels that are launched at this shape: a row for each and each GPU. In a process of its own, which finds no GPU."""
    done = subprocess.run([sys.executable, "-m", "tests.backends.cuda_resources"], capture_output=True, text=True, check=True)
    return [row["launched"] for row in map(json.loads, done.stdout.splitlines()) if "launched" in row]


def cuda_table() -> Table:
    made = table(
        "CUDA kernels, d=64, all dtypes: registers a thread, KiB of shared memory a block, warps resident of 64, tensor-core instructions",
        "kernel", "warps", *GPUS,
    )  # fmt: skip
    names: dict[str, dict[str, dict]] = {}
    for row in cuda_kernels():
        names.setdefault(f"{row['op']} {row['kernel']}", {})[row["arch"]] = row | {"num_warps": row["threads"] // 32}
    for name, rows in sorted(names.items()):
        cells = []
        for gpu in GPUS.values():
            row = rows[gpu.target]
            cells.append(f"{row['registers']}, {row['shared'] / 1024:.0f}, {resident_warps(row, gpu)}, {row['tensor_core']}")
        made.add_row(name, str(rows["sm_80"]["num_warps"]), *cells)
    return made


def _cells(pair: tuple[Work, Work]) -> list[str]:
    return [", ".join(f"{getattr(work, name) / unit:.3g}" for work in pair) for name, unit in UNITS.items()]


if __name__ == "__main__":
    report(Console(width=None if sys.stdout.isatty() else 200))
