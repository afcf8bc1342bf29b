"""Which GPU the kernels are compiled for."""

from __future__ import annotations

from triton.runtime.driver import driver

from . import INTERPRETED


def on_amd() -> bool:
    return not INTERPRETED and driver.active.get_current_target().backend == "hip"


def all_registers(warps: int = 4) -> dict[str, int]:
    """For a launch: all the registers that a thread can have, where ptxas else spills some to fit
    another program beside it.
    """
    return {} if on_amd() else {"maxnreg": min(255, 65536 // (32 * warps))}


def architecture() -> int:
    """Of NVIDIA's GPU: 80 for 8.0. Under the interpreter that of an A100."""
    return 80 if INTERPRETED else driver.active.get_current_target().arch
