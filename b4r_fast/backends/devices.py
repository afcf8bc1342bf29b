"""What the backends of GPUs share about launches."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch

# Programs, or blocks, that a launch should have: two for each of the 132 multiprocessors of an
# H100.
PROGRAMS = 264


def cut(blocks: int, beside: int) -> tuple[int, int]:
    """In how many runs to cut some blocks, for PROGRAMS where there are `beside` programs without,
    and how many blocks a run has.
    """
    runs = max(1, min(blocks, PROGRAMS // max(beside, 1)))
    return runs, -(-blocks // runs)


def on_its_device(operator: Callable) -> Callable:
    """Kernels are launched on the current device, an operator's tensors may be on another."""

    @functools.wraps(operator)
    def run(*args):
        with torch.cuda.device_of(next(x for x in args if isinstance(x, torch.Tensor))):
            return operator(*args)

    return run
