"""What the Triton kernels of a training step, and the CUDA kernels, would need of three GPUs, and
how long at least, computed without one.

    python -m tests.without_a_gpu.report      # or make gpu-report

Registers, shared memory, launches and the bytes of operands are read from what is launched and
compiled for the GPU; the bytes and operations of an op are counted, from the formulas at the head
of every kernel's file. A time here is the longest of what its products, exponentials and bytes take
at the GPU's best rates: no kernel is faster, and none has been measured.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault(
    "TRITON_CACHE_DIR", str(Path(__file__).resolve().parents[2] / "build" / "triton")
)

import numpy as np
import torch
from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

from benchmarks import operations
from benchmarks.workloads import LENGTHS

from . import compiler
from .cuda_resources import module


@dataclass(frozen=True)
class Gpu:
    """Rates a second from NVIDIA's data sheets: bf16 products, dense; bytes of memory;
    exponentials, 16 a clock and multiprocessor.

    shared: bytes of a multiprocessor, which has 65,536 registers and holds 64 warps.
    """

    target: str
    products: float
    bytes: float
    exponentials: float
    shared: int


GPUS = {
    "A100": Gpu(
        "sm_80", products=312e12, bytes=2.04e12, exponentials=108 * 16 * 1.41e9, shared=164 << 10
    ),
    "H100": Gpu(
        "sm_90", products=989e12, bytes=3.35e12, exponentials=132 * 16 * 1.83e9, shared=228 << 10
    ),
    "B200": Gpu(
        "sm_100", products=2250e12, bytes=8.0e12, exponentials=148 * 16 * 1.85e9, shared=228 << 10
    ),
}


UNITS = {"products": 1e9, "exponentials": 1e9, "bytes": 1e6}


@dataclass(frozen=True)
class Work:
    """Operations of products, exponentials (a GELU or its slope counts as one), and bytes of
    memory.
    """

    products: float
    exponentials: float
    bytes: float

    def __add__(self, other: Work) -> Work:
        return Work(
            self.products + other.products,
            self.exponentials + other.exponentials,
            self.bytes + other.bytes,
        )

    def microseconds(self, gpu: Gpu) -> float:
        return 1e6 * max(
            self.products / gpu.products,
            self.exponentials / gpu.exponentials,
            self.bytes / gpu.bytes,
        )


class Pass(NamedTuple):
    """What an op does in its forward or its backward: ours, and FlashAttention, cuBLAS, logits in
    memory, and PyTorch between.
    """

    ours: Work
    theirs: Work


def total(*passes: Pass) -> Pass:
    return Pass(*(sum(works, start=Work(0, 0, 0)) for works in zip(*passes, strict=True)))


def works() -> dict[str, Pass]:
    """The passes of an ML-1M step in bf16.

    256 users with the real distribution of lengths, T tokens, of which R = T / 5 hidden; pairs: of
    rows and keys of a sequence. PyTorch reads and writes once for each of dropout (and a byte of
    mask), residual sum and norm, and twice the gradients of a norm's weights.
    """
    lengths = np.interp(np.linspace(0, 1, 256), np.linspace(0, 1, 21), LENGTHS["ml-1m"]).clip(
        max=200
    )
    d, f, H, V, P = 64, 256, 2, 3416, 200
    T, R, e = lengths.sum(), lengths.sum() / 5, 2
    found: dict[str, Pass] = {}

    def add(op: str, forward: Pass, backward: Pass) -> None:
        for name, work in ((f"{op}, forward", forward), (f"{op}, backward", backward)):
            found[name] = total(found[name], work) if name in found else work

    def attention(rows: float, pairs: float) -> None:
        q, kv, statistics = rows * d * e, 2 * T * d * e, 4 * rows * H
        products = operations.products_of_attention(pairs, d)
        forward = Work(products["forward"], pairs * H, 2 * q + kv + statistics)
        # The scores are computed again.
        again = products["backward"] + products["forward"] / 2
        backward = Work(again, pairs * H, 4 * q + 2 * kv + statistics)
        # Reads o and do once before, for a sum of each row, and adds up dq in fp32, which is set to
        # 0, added to and rounded.
        theirs = backward + Work(0, 0, 2 * q + 2 * statistics + 3 * 4 * rows * d)
        add("attention", Pass(forward, forward), Pass(backward, theirs))

    def linear(rows: float, size_in: float, size_out: float) -> tuple[Pass, Pass]:
        x, y = rows * size_in * e, rows * size_out * e
        products = operations.linear(rows, size_in, size_out)
        forward = Work(products["forward"], 0, x + y)
        backward = Work(products["backward"], 0, y + 2 * x)
        return Pass(forward, forward), Pass(backward, backward + Work(0, 0, 2 * y))

    def norm_of_torch(rows: float) -> tuple[Work, Work]:
        """Dropout, sum and norm, without the sum of two gradients."""
        return Work(0, 0, rows * d * (e * (2 + 3 + 2) + 1)), Work(
            0, 0, rows * d * (e * (3 + 2 + 2) + 1)
        )

    def residual_linear(rows: float) -> None:
        x, (forward, backward), norm = rows * d * e, linear(rows, d, d), norm_of_torch(rows)
        ours = Work(forward.ours.products, 0, 4 * x), Work(backward.ours.products, 0, 6 * x)
        add(
            "residual_linear_layer_norm",
            Pass(ours[0], forward.theirs + norm[0]),
            Pass(ours[1], backward.theirs + norm[1]),
        )

    def residual_ffn(rows: float) -> None:
        x, gelus, hidden, norm = rows * d * e, rows * f, rows * f * e, norm_of_torch(rows)
        products = operations.gelu_ffn(rows, d)
        forward = Work(products["forward"], gelus, 3 * x)
        forward_of_theirs = Work(products["forward"], gelus, 2 * x + 4 * hidden) + norm[0]
        # Ours computes the hidden layer and its gradient in both of its kernels: three of the
        # products of a forward, which has two.
        backward = Work(products["backward"] + 1.5 * products["forward"], 4 * gelus, 7 * x)
        backward_of_theirs = Work(products["backward"], gelus, 8 * x + 7 * hidden) + norm[1]
        ours, theirs = Pass(forward, forward_of_theirs), Pass(backward, backward_of_theirs)
        add("residual_ffn_layer_norm", ours, theirs)

    def head() -> None:
        x, gelus, (forward, backward) = R * d * e, R * d, linear(R, d, d)
        ours = (
            Work(forward.ours.products, gelus, 3 * x),
            Work(backward.ours.products, 2 * gelus, 5 * x),
        )
        theirs = (
            forward.theirs + Work(0, gelus, (2 + 2) * x),
            backward.theirs + Work(0, gelus, (3 + 5) * x),
        )
        add("linear_gelu_layer_norm", Pass(ours[0], theirs[0]), Pass(ours[1], theirs[1]))

    def softmax() -> None:
        h, table, logits = R * d * e, V * d * e, R * V
        one = operations.scores(R, V, d)["forward"]
        # Ours has the gradient of h in the forward, and computes the logits again in the backward.
        ours = (
            Work(2 * one, logits, 2 * h + table),
            Work(2 * one, logits, h + 2 * table + 2 * 4 * V * d),
        )
        # Logits are written as bf16; read, and written as fp32; log softmax. Then its gradient,
        # rounded to bf16, and read twice.
        forward = Work(one, logits, h + table + logits * (e + e + 4 + 8))
        backward = Work(2 * one, logits, 2 * h + 2 * table + logits * (8 + 4 + e + 2 * e))
        add("softmax_loss", Pass(ours[0], forward), Pass(ours[1], backward))

    def embedding() -> None:
        x, tables = T * d * e, (V + P) * d * e
        keys = 2 * T * 12  # of 4 bytes, with 8 of an index; sorted by 8 bits at a time
        forward = Pass(Work(0, 0, 2 * x), Work(0, 0, (2 + 2 + 3 + 2 + 2) * x + T * d))
        backward = Work(0, 0, 2 * x + 4 * T * d + 2 * 4 * T * d + tables + 4 * 2 * keys)
        add(
            "embedding_layer_norm",
            forward,
            Pass(backward, Work(0, 0, (2 + 5 + 2) * x + T * d + 2 * tables + 8 * 2 * 2 * keys)),
        )

    embedding()
    for shape in ((R, d, d), (T, d, 2 * d), (T, d, 3 * d)):
        add("linear, selected_projection", *linear(*shape))
    pairs = (lengths**2).sum()
    attention(T, pairs)
    attention(R, pairs / 5)
    for rows in (T, R):
        residual_linear(rows)
        residual_ffn(rows)
    head()
    softmax()
    layer = 2 * d + 2 * d * f + 4 * d * d + 9 * d + f
    parameters = (V + 2 + P) * d + V + 2 * layer + d * d + 5 * d
    optimizer = Work(0, 0, 7 * parameters * e)
    return found | {"AdamW": Pass(optimizer, optimizer)}


def resident_warps(row: dict, gpu: Gpu) -> int:
    """Of a multiprocessor's 64: what registers (given out 8 a thread at a time) and shared memory
    (1 KiB more a program) leave room for.
    """
    warps = row["num_warps"]
    registers = -(-row["registers"] // 8) * 8 * 32 * warps
    return warps * min(64 // warps, 65536 // registers, gpu.shared // (row["shared"] + 1024), 32)


def launches_of_step() -> tuple[list[str], dict[Gpu, list[dict]]]:
    """What a step launches, in order, and its kernels as they are compiled for each GPU: how often,
    and the bytes of all operands.
    """
    kernels: dict[Gpu, dict[int, dict]] = {gpu: {} for gpu in GPUS.values()}

    def note(row: dict, operands: int) -> None:
        launched = kernels[gpu].setdefault(id(row), row | {"launches": 0, "operands": 0})
        launched["launches"] += 1 / 2  # launches() runs the step twice
        launched["operands"] += operands / 2

    compiler.install(note)
    from .launches import launches, training_step  # only now, as the backend would find no GPU

    for gpu in GPUS.values():
        compiler.choose(gpu.target)
        launches(lambda: training_step(torch.bfloat16), note_kernels=False)
    return launches(lambda: training_step(torch.bfloat16)), {
        gpu: list(rows.values()) for gpu, rows in kernels.items()
    }


def table(title: str, *columns: str) -> Table:
    made = Table(title=title, title_justify="left", title_style="bold", box=MARKDOWN)
    for i, column in enumerate(columns):
        made.add_column(column, justify="left" if i == 0 else "right", overflow="fold")
    return made


def report(console: Console) -> None:
    console.print(
        "Computed, not measured: no kernel here has run on a GPU. ML-1M: 256 users, bf16, d=64, 2"
        " layers, 2 heads, 3,416 items.\n"
    )
    names, rows = launches_of_step()
    kernels = table(
        "Kernels: launches a step, MB of all operands; registers a thread, KiB of shared memory"
        " a program, warps resident of 64",
        "kernel", "blocks", "warps", "launches", "MB", *GPUS,
    )  # fmt: skip
    described: dict[
        tuple[str, ...], tuple[float, float]
    ] = {}  # those compiled twice for other tensors that come out alike stand once
    for same in zip(*rows.values(), strict=True):
        row = same[0]
        blocks = ", ".join(
            f"{name} {size}"
            for name, size in row.items()
            if name.isupper() and not isinstance(size, bool)
        )
        cells = (
            f"{r['registers']}, {r['shared'] / 1024:.0f}, {resident_warps(r, gpu)}"
            for gpu, r in zip(rows, same)
        )
        line = f"{row['op']} {row['kernel'].strip('_')}", blocks, str(row["num_warps"]), *cells
        before = described.get(line, (0, 0))
        described[line] = before[0] + row["launches"], before[1] + row["operands"]
    for (*names_and_sizes, a100, h100, b200), (count, operands) in described.items():
        kernels.add_row(*names_and_sizes, f"{count:.0f}", f"{operands / 1e6:.3g}", a100, h100, b200)
    console.print(kernels)
    operands = sum(row["operands"] for row in rows[GPUS["A100"]]) / 1e6
    console.print(
        f"Together {operands:.0f} MB. The ops' bytes below are without partial sums of gradients"
        " and of parts of the catalogue, which the\n"
        "L2 caches hold, and with torch's products and the optimizer.\n"
    )
    console.print(
        cuda_table() if module() else "CUDA kernels: not built here, for want of nvcc", style=None
    )
    times = table(
        "Ops, all of a step: the least time in microseconds, ours and of FlashAttention + cuBLAS"
        " + logits in memory",
        "op: ours, theirs", "GFLOP", "Gexp", "MB",
        *(f"{gpu} {whose}" for gpu in GPUS for whose in ("ours", "theirs")),
    )  # fmt: skip
    passes = works()
    for name, work in passes.items():
        times.add_row(
            name,
            *_cells(work),
            *(f"{w.microseconds(gpu):.1f}" for gpu in GPUS.values() for w in work),
        )
    sums = [
        sum(work[i].microseconds(gpu) for work in passes.values())
        for gpu in GPUS.values()
        for i in (0, 1)
    ]
    times.add_row("step", *_cells(total(*passes.values())), *(f"{x:.0f}" for x in sums))
    console.print(times)
    console.print(
        f"Launches of a step, masks, dropout and AdamW included: {len(names)}", style="bold"
    )
    for name, count in Counter(names).most_common():
        console.print(f"  {count:2} {name}")


def cuda_kernels() -> list[dict]:
    """Of the CUDA kernels that are launched at this shape: a row for each and each GPU. In a
    process of its own, which finds no GPU.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tests.without_a_gpu.cuda_resources"],
        capture_output=True,
        text=True,
        check=True,
    )
    return [
        row["launched"] for row in map(json.loads, done.stdout.splitlines()) if "launched" in row
    ]


def cuda_table() -> Table:
    made = table(
        "CUDA kernels, d=64, all dtypes: registers a thread, KiB of shared memory a block, warps"
        " resident of 64, tensor-core instructions",
        "kernel", "warps", *GPUS,
    )  # fmt: skip
    names: dict[str, dict[str, dict]] = {}
    for row in cuda_kernels():
        names.setdefault(f"{row['op']} {row['kernel']}", {})[row["arch"]] = row | {
            "num_warps": row["threads"] // 32
        }
    for name, rows in sorted(names.items()):
        cells = []
        for gpu in GPUS.values():
            row = rows[gpu.target]
            cells.append(
                f"{row['registers']}, {row['shared'] / 1024:.0f}, {resident_warps(row, gpu)},"
                f" {row['tensor_core']}"
            )
        made.add_row(name, str(rows["sm_80"]["num_warps"]), *cells)
    return made


def _cells(pair: Pass) -> list[str]:
    return [
        ", ".join(f"{getattr(work, name) / unit:.3g}" for work in pair)
        for name, unit in UNITS.items()
    ]


if __name__ == "__main__":
    report(Console(width=None if sys.stdout.isatty() else 200))
