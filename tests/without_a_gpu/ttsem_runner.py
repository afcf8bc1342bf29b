"""Runs Triton's kernels through ttsem, which compiles each launch and executes what the compiler
makes of it, on the CPU: --on ttsem.

It raises, at the kernel's line, for reads and writes outside an allocation, races between programs,
two lanes that store different values to one place, and integers that overflow; and it rounds to
halves and tf32 as GPUs do. It does not see masked lanes without a value, which it reads as 0,
programs that store the same value to one place, atomics, nor uninitialised memory (poison it).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partialmethod

from triton.runtime.jit import JITFunction
from ttsem.sanitize import session


def _refuse() -> None:
    raise AssertionError("a launch too large to be checked for races: make the sizes smaller")


@contextmanager
def open_session() -> Iterator[None]:
    """For a process that has not imported the Triton backend yet."""
    with session(cuda_is_cpu=False, on_unchecked=_refuse):  # torch says that it finds a GPU
        from b4r_fast.backends import triton as backend

        backend.DEVICES = ("cpu",)
        # Or integers overflow silently.
        JITFunction.run = partialmethod(JITFunction.run, debug=True)
        yield
