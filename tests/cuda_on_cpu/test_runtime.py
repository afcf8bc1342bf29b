"""The fibers themselves: test_runtime.cpp, plain and under sanitizers, in every order and with both
ways of copying.
"""

import subprocess

import pytest

from . import environment
from .build import SANITIZERS, build


@pytest.mark.parametrize("mode", [{}, {"copies": "eager"}, {"order": 1}, {"order": 2}], ids=str)
@pytest.mark.parametrize("sanitizer", ["", *SANITIZERS])
def test_fibers_do_what_a_gpu_does(sanitizer, mode, tmp_path):
    program = build("test_runtime", sanitizer=sanitizer)
    done = subprocess.run(
        [program], env=environment(**mode), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
