"""Which machine this is, and its limits: the rate of fused multiply-adds, and the bandwidth of
memory; of its CPU or its GPU.
"""

from __future__ import annotations

import functools
import os
import platform
import statistics
import sys
from pathlib import Path

import torch

from .measure import now

SECONDS = 0.15  # of one measurement of the FMA rate
MEGABYTE = 1 << 20


def description(device: str) -> dict:
    from b4r_fast.backends.cpu.instruction_sets import ISA
    from b4r_fast.version import VERSION

    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "instruction_set": ISA,
        "torch_instruction_set": torch.backends.cpu.get_cpu_capability(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "b4r_fast": VERSION,
        "gpu": f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda or torch.version.hip}"
        if device == "cuda"
        else None,
    }


def disturbance(machine: dict) -> str | None:
    """A warning where other programs were running when the measurement began."""
    if machine["load"] < 0.5:
        return None
    return (
        f"Other programs were running (load {machine['load']:.1f} at the start): these figures"
        " are no measure of a quiet machine."
    )


def cpu_model() -> str:
    """The model's name; family and model numbers are added, as virtual machines tend to hide the
    name.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or sys.platform
    fields = dict(map(str.strip, line.split(":", 1)) for line in reversed(lines) if ":" in line)
    name = fields.get("model name") or platform.machine()
    return (
        f"{name}, family {fields['cpu family']} model {fields['model']}"
        if "cpu family" in fields
        else name
    )


def limits(read: torch.Tensor, threads: int) -> dict[str, float]:
    """GFLOP/s of fused multiply-adds, and GB/s of reading that tensor, now."""
    return {"fma": fma_rate(threads), "bandwidth": read_bandwidth(read, threads)}


def fma_rate(threads: int) -> float:
    native = _native_limits()
    return native.fma_rate(SECONDS, threads) if native else _mm_rate(1024)


def read_bandwidth(tensor: torch.Tensor, threads: int) -> float:
    """The median of five passes, as what it is held against is a median too."""
    native = _native_limits()
    if native:
        return statistics.median(native.read_bandwidth(tensor, threads) for _ in range(5))
    return statistics.median(tensor.nbytes / _seconds(tensor.sum) for _ in range(5)) / 1e9


def limits_of_gpu(dtype: torch.dtype, device: str = "cuda") -> dict[str, float]:
    """GFLOP/s of a product in that dtype, and GB/s read and written by a copy, now."""
    x, y = torch.empty(2, 256 * MEGABYTE, dtype=torch.uint8, device=device)
    copies = [2 * x.nbytes / _seconds(lambda: y.copy_(x)) for _ in range(10)]
    return {
        "fma": _mm_rate(8192, dtype=dtype, device=device),
        "bandwidth": statistics.median(copies) / 1e9,
    }


def how_measured(device: str) -> str:
    if device == "cuda":
        return "torch.mm of 8192 x 8192 in the dtype of the contenders, and a copy of 256 MiB"
    return (
        "native loops of fused multiply-adds and of loads"
        if _native_limits()
        else "torch.mm of 1024 x 1024, and torch.sum"
    )


@functools.cache
def _native_limits():
    try:
        from b4r_fast.backends.cpu import machine_limits
    except ImportError:
        return None
    return machine_limits


@functools.lru_cache(1)
def array(size: int) -> torch.Tensor:
    return torch.ones(max(MEGABYTE, size) // 4)


def _mm_rate(size: int, **options) -> float:
    a, b, c = torch.randn(3, size, size, **options).unbind()
    end, best = now() + SECONDS, 0.0
    while now() < end:
        best = max(best, 2 * size**3 / _seconds(lambda: torch.mm(a, b, out=c)) / 1e9)
    return best


def _seconds(function) -> float:
    start = now()
    function()
    return now() - start
