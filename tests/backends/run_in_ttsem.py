"""Runs the tests of the Triton kernels through ttsem, which compiles each launch and executes what the compiler makes of it, on the CPU.

    python -m tests.backends.run_in_ttsem [arguments of pytest]     # make check-gpu

It raises, at the kernel's line, for reads and writes outside an allocation, races between programs, two lanes that store different values
to one place, and integers that overflow; and it rounds to halves and tf32 as GPUs do. It does not see masked lanes without a value, which
it reads as 0, programs that store the same value to one place, atomics, nor uninitialised memory (poison it).
"""

from __future__ import annotations

import sys
from functools import partialmethod

import pytest
from triton.runtime.jit import JITFunction
from ttsem.sanitize import session

TESTS = (
    *("tests/backends/test_gpu_kernels.py", "tests/backends/test_triton_mutations.py", "tests/backends/test_ttsem.py"),
    *("tests/ops/test_registration.py", "tests/ops/test_residual_layer_norm.py"),  # of every backend
    *("-k", "triton or ttsem", "--timeout", "900"),  # of a test, on a machine that does something else too
)


def main(arguments: list[str]) -> int:
    with session(cuda_is_cpu=False) as state:  # torch says that it finds a GPU: TRITON_INTERPRET is not set
        from b4r_fast.backends import triton as backend

        backend.DEVICES = ("cpu",)
        JITFunction.run = partialmethod(JITFunction.run, debug=True)  # or integers overflow silently
        code = pytest.main(arguments)
    if state.races_unchecked:
        print(f"{state.races_unchecked} launches were too large to be checked for races: make the sizes smaller", file=sys.stderr)
    return code or int(state.races_unchecked > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(TESTS)))
