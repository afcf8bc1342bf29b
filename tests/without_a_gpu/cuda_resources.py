"""What the CUDA kernels need of a GPU, read from the module that is built here and from what is
launched.

    python -m tests.without_a_gpu.cuda_resources     # prints one JSON object a kernel and
                                                     architecture

Registers, spills and tensor-core instructions are what nvcc made. Shared memory, which a launch
asks for, is taken from the launches of the kernels as they are compiled for the CPU
(tests/cuda_on_cpu), noted and not run: at the shape of ML-1M, and at the largest that they take.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path

import torch

from ..cuda_on_cpu import install
from ..cuda_on_cpu.build import build

ROOT = Path(__file__).resolve().parents[2]
SHARED_MEMORY = 163 << 10  # bytes that a block may have on an A100, the least of the three


def module() -> Path | None:
    """What nvcc has built, if it has."""
    return next((ROOT / "b4r_fast" / "backends" / "cuda").glob("_cuda.*.so"), None)


def short_name(demangled: str) -> str:
    """Of a kernel, what tells it from others: "best_kernel<__half, 32>"."""
    start = re.search(r"\w+_kernel", demangled)
    assert start is not None, demangled
    rest = demangled[start.start() :]
    depth, end = 0, len(rest)
    for i, character in enumerate(rest):
        depth += {"<": 1, ">": -1}.get(character, 0)
        if character == "(" and depth == 0:
            end = i
            break
    return re.sub(
        r"b4r::cuda::|\(anonymous namespace\)::|_GLOBAL__N__\w+::", "", rest[:end]
    ).replace("> >", ">>")


@cache
def _demangled(name: str) -> str:
    return subprocess.run(
        ["c++filt", name], capture_output=True, text=True, check=True
    ).stdout.strip()


def _cuobjdump(*options: str) -> str:
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    return subprocess.run(
        [tool, *options, module()], capture_output=True, text=True, check=True
    ).stdout


def compiled() -> list[dict]:
    """Every kernel for every architecture: registers a thread, bytes that it spills or keeps in
    memory, tensor-core instructions.
    """
    kernels: dict[tuple[str, str], dict] = {}
    arch = ""
    usage = re.compile(
        r"arch = (\w+)|Function (\w+):\n\s+REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)"
    )
    for found in usage.finditer(_cuobjdump("--dump-resource-usage")):
        arch = found[1] or arch
        if found[2]:
            file = re.search(r"_([a-z_]+)_cu_", found[2])  # nvcc names what is of one file after it
            assert file is not None, found[2]
            row = {
                "op": file[1],
                "kernel": short_name(_demangled(found[2])),
                "arch": arch,
                "registers": int(found[3]),
                "spills": int(found[4]) + int(found[5]),
            }
            kernels[found[2], arch] = row | {"tensor_core": 0}
    sass = _cuobjdump("-sass")
    marks = [*re.finditer(r"arch = (\w+)|Function : (\w+)", sass)]
    for mark, following in pairwise([*marks, None]):
        arch = mark[1] or arch
        if mark[2]:
            body = sass[mark.end() : following.start() if following else len(sass)]
            kernels[mark[2], arch]["tensor_core"] = len(
                re.findall(r"\b(?:HMMA|HGMMA|UTCHMMA)", body)
            )
    return list(kernels.values())


def noted(calls: Callable[[], None]) -> dict[str, dict]:
    """The kernels that some calls launch: threads of a block, and the most bytes of
    shared memory.
    """
    file = build()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "launches"
        os.environ["B4R_CUDA_ON_CPU_LAUNCHES"] = str(log)
        try:
            calls()
        finally:
            del os.environ["B4R_CUDA_ON_CPU_LAUNCHES"]
        lines = [tuple(map(int, line.split())) for line in log.read_text().splitlines()]
    places = sorted({place for place, *_ in lines})
    # Two lines for each place, of which the first is the function.
    command = ["addr2line", "-f", "-C", "-e", file, *(hex(place) for place in places)]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[
        ::2
    ]
    kernels: dict[str, dict] = {}
    for place, _, threads, shared in lines:
        name = short_name(names[places.index(place)])
        kernels[name] = {
            "threads": threads,
            "shared": max(shared, kernels.get(name, {"shared": 0})["shared"]),
        }
    return kernels


def calls(d: int, k: int) -> None:
    """One of every op that the backend holds, in every dtype."""
    from b4r_fast import ops, use_backend
    from b4r_fast.backends.cuda.module import DTYPES

    rows, items, seed = 40, 3416, torch.tensor(1)
    with use_backend("cuda"):
        ops.cloze_mask(
            torch.ones(10, dtype=torch.int64),
            torch.tensor([0, 10]).int(),
            mask_prob=0.2,
            mask_id=9,
            seed=seed,
        )
        for sampler, counts in (
            ("uniform", None),
            ("log_uniform", None),
            ("popularity", torch.ones(items).long()),
        ):
            ops.sample_negatives(100, items, sampler=sampler, counts=counts, seed=seed)
        for dtype in DTYPES:
            hidden, table = (
                torch.randn(rows, d).to(dtype).requires_grad_(),
                torch.randn(items, d).to(dtype).requires_grad_(),
            )
            targets, exclude = (
                torch.arange(rows),
                (torch.arange(rows), torch.arange(rows + 1).int()),
            )
            ops.sampled_softmax_loss(
                hidden, table, None, targets, targets.repeat(rows, 1)
            ).backward()
            ops.topk(hidden, table, None, k, exclude=exclude)
            ops.topk(hidden, table, None, min(k, 10), exclude=exclude)
            ops.rank(hidden, table, None, targets, exclude=exclude)


def main() -> None:
    if module() is None or shutil.which("c++filt") is None or shutil.which("addr2line") is None:
        sys.exit("the CUDA module is not built here, or binutils are missing")
    install()
    launched = noted(lambda: calls(64, 100))
    widest = noted(lambda: calls(512, 1024)) | noted(lambda: calls(512, 64))
    for row in compiled():
        print(json.dumps({"compiled": row}))
        if row["kernel"] in launched:
            print(json.dumps({"launched": row | launched[row["kernel"]]}))
    for name, row in widest.items():
        print(json.dumps({"widest": {"kernel": name, **row}}))


if __name__ == "__main__":
    main()
