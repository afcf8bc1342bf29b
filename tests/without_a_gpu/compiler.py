"""Runs the Triton backend's launch sites for a GPU that is not there: everything is specialised and
compiled for it, nothing is launched.

In a process of its own, without TRITON_INTERPRET, as it replaces Triton's driver and makes the
backend take CPU tensors.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
import triton
from torch._subclasses import FakeTensor
from torch.utils._pytree import tree_map
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction, MockTensor

# A100, RTX 3090, H100, B200, RTX 5090, MI300: warp sizes are NVIDIA's and AMD's.
TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_86": GPUTarget("cuda", 86, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "sm_120": GPUTarget("cuda", 120, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
# Bytes that a program may have.
SHARED_MEMORY = {
    "sm_80": 166_912,
    "sm_86": 101_376,
    "sm_90": 232_448,
    "sm_100": 232_448,
    "sm_120": 101_376,
    "gfx942": 65_536,
}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
LAUNCHED: list[dict] = []  # descriptions, by note
TOOLS = Path(triton.__file__).parent / "backends/nvidia/bin"


class AbsentGpu:
    """What Triton asks of a driver, for a target that is not there."""

    def __init__(self, target: GPUTarget) -> None:
        self.target = target
        self.utils = self

    def get_current_target(self):
        return self.target

    def get_current_device(self):
        return list(TARGETS.values()).index(self.target)  # Triton keeps what it compiled by device

    def get_current_stream(self, device=None):
        return 0

    def get_device_properties(self, device):
        # Without a limit, so that all kernels are described, those that need too much too.
        return {
            "max_shared_mem": 1 << 30,
            "multiprocessor_count": 132,
            "warpSize": self.target.warp_size,
            "max_num_regs": 65536,
        }

    def load_binary(self, name, binary, shared, device):
        return 1, 1, 0, 0, 1024

    class launcher_cls:
        def __init__(self, source, metadata):
            self.launch_cooperative_grid = False

        def __call__(self, *args):
            pass


def _tool(name: str, cubin: bytes, *options: str) -> str:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        return subprocess.run(
            [TOOLS / name, *options, file.name], capture_output=True, text=True, check=True
        ).stdout


def resources(kernel) -> dict[str, int]:
    """Registers, bytes of stack and local memory a thread (NVIDIA) or spilled vector registers
    (AMD), tensor-core instructions.
    """
    if "cubin" not in kernel.asm:
        text = kernel.asm["amdgcn"]
        spilled, registers = (
            int(re.search(rf"\.{name}:\s+(\d+)", text)[1])
            for name in ("vgpr_spill_count", "vgpr_count")
        )
        return {
            "registers": registers,
            "spills": spilled,
            "tensor_core": len(re.findall(r"v_mfma", text)),
        }
    usage = _tool("cuobjdump", kernel.asm["cubin"], "--dump-resource-usage")
    return {
        "registers": int(re.search(r"REG:(\d+)", usage)[1]),
        "spills": sum(int(size) for size in re.findall(r"(?:STACK|LOCAL):(\d+)", usage)),
        # Which ptxas takes as they are; disassembling what it makes would take as long as all the
        # rest.
        "tensor_core": len(
            re.findall(r"\b(?:mma\.sync|wgmma\.mma_async|tcgen05\.mma)", kernel.asm["ptx"])
        ),
    }


def choose(target: str) -> None:
    """Have what is launched next compiled for this target."""
    driver.set_active(AbsentGpu(TARGETS[target]))


def note(row: dict, operands: int) -> None:
    """For install: keeps the description."""
    LAUNCHED.append(row)


def install(
    note: Callable[[dict, int], None], wanted: Callable[[str], bool] = lambda name: True
) -> None:
    """From now on note gets a description of every kernel that is launched, if it is wanted: the
    same object for the same kernel.

    And the bytes of the tensors that it is launched with.
    """
    torch.cuda.is_available = lambda: True
    knobs.compilation.disable_line_info = True  # which nobody reads here, and takes a fourteenth
    described: dict[tuple, dict] = {}
    run = JITFunction.run

    def run_and_describe(self, *args, grid, warmup, **kwargs):
        if not wanted(self.fn.__name__):
            return None
        operands = sum(
            x.numel() * x.element_size()
            for x in (*args, *kwargs.values())
            if isinstance(x, torch.Tensor)
        )
        args, kwargs = tree_map(
            lambda x: MockTensor(x.dtype) if isinstance(x, FakeTensor) else x, (args, kwargs)
        )
        kernel = run(self, *args, grid=grid, warmup=warmup, **kwargs)
        target = list(TARGETS)[driver.active.get_current_device()]
        if (target, kernel.hash) not in described:
            not_compiled = {
                parameter.name for parameter in self.params if not parameter.is_constexpr
            }
            constants = {
                name: value
                for name, value in kwargs.items()
                if isinstance(value, int) and name not in not_compiled
            }
            module = self.fn.__module__.rpartition(".")[2]
            row = {"op": module, "kernel": self.fn.__name__, **constants, "target": target}
            row |= {"num_warps": kernel.metadata.num_warps, "shared": kernel.metadata.shared}
            described[target, kernel.hash] = (
                row | {"dots": "tt.dot" in kernel.asm["ttir"]} | resources(kernel)
            )
        note(described[target, kernel.hash], operands)
        return kernel

    JITFunction.run = run_and_describe
    from b4r_fast.backends import triton as backend

    backend.DEVICES = ("cpu",)


def faults(row: dict) -> str:
    """What is wrong with a kernel, or nothing."""
    if row["spills"]:
        return f"spills {row['spills']}"
    if row["shared"] > SHARED_MEMORY[row["target"]]:
        return f"needs {row['shared']} bytes of shared memory of {SHARED_MEMORY[row['target']]}"
    if row["target"] != "gfx942" and row["registers"] * 32 * row["num_warps"] > 65536:
        return f"needs {row['registers']} registers for each of {32 * row['num_warps']} threads"
    if row["dots"] and not row["tensor_core"] and row["dtype"] != "fp32":
        return "has a product without tensor cores"
    return ""
