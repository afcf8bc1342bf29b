"""What this machine can do at most, by csrc/cpu/machine_limits.cpp: what benchmarks hold a kernel's
time against.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .instruction_sets import native


def fma_rate(seconds: float = 0.1, threads: int | None = None) -> float:
    """GFLOP/s (10^9 additions and multiplications a second) in fp32 of the widest multiply-adds of
    the chosen instruction set.

    seconds: how long to measure; each thread counts by its best burst of some 0.1 ms, and the
    threads are summed. threads: None takes torch.get_num_threads().
    """
    return native.fma_rate(seconds, threads or torch.get_num_threads())


def read_bandwidth(numbers: Tensor, threads: int | None = None) -> float:
    """GB/s (10^9 bytes a second) of one pass over a contiguous fp32 tensor: the memory's where it
    is larger than the caches.

    threads: None takes torch.get_num_threads(). Raises ValueError for another dtype, device or
    layout.
    """
    if (
        numbers.dtype != torch.float32
        or numbers.device.type != "cpu"
        or not numbers.is_contiguous()
    ):
        raise ValueError(
            f"numbers must be a contiguous float32 tensor on the CPU, got {numbers.dtype} on"
            f" {numbers.device}"
        )
    return native.read_bandwidth(
        numbers.data_ptr(), numbers.numel(), threads or torch.get_num_threads()
    )
