"""The tests of the CUDA kernels again: in other orders of threads, under AddressSanitizer and
ThreadSanitizer, with copies that land late and ones that land at once
(tests/cuda_on_cpu/runtime.h).
"""

import re

import pytest

from ..cuda_on_cpu import run_tests
from ..cuda_on_cpu.build import build
from .test_native import skip_without_runtime

OPS = ("tests/backends/test_gpu_kernels.py", "tests/backends/test_cuda.py", "-k", "cuda")
SMALL = ("tests/backends/test_cuda.py", "-k", "small")

RUNS = {
    "order 1": (OPS, "", {"order": 1}),
    "order 2, copies at once": (OPS, "", {"order": 2, "copies": "eager"}),
    "AddressSanitizer": (OPS, "address", {}),
    "AddressSanitizer, copies at once": (SMALL, "address", {"copies": "eager"}),
    "ThreadSanitizer": (SMALL, "thread", {}),
    "ThreadSanitizer, copies at once": (SMALL, "thread", {"copies": "eager"}),
}


pytestmark = [pytest.mark.kernels, pytest.mark.timeout(600)]


@pytest.mark.parametrize("name", RUNS)
def test_the_kernels_pass_their_tests(name, tmp_path, found):
    tests, sanitizer, mode = RUNS[name]
    if sanitizer:
        skip_without_runtime(sanitizer, tmp_path)
    done = run_tests(*tests, module=build(sanitizer=sanitizer), sanitizer=sanitizer, **mode)
    assert done.returncode == 0, done.stdout[-6000:]
    found(name, tests=int(re.search(r"(\d+) passed", done.stdout)[1]))
