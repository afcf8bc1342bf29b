"""That the tests marked gpu keep what they make on the device: some of each op pass on a stand-in, which sees what is left behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils import backend_registration

pytestmark = [
    pytest.mark.skipif(torch.cuda.is_available(), reason="they run on the GPU itself"),
    pytest.mark.skipif(
        not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"), reason="torch is older than its devices in Python"
    ),
]
pytest.importorskip("triton", reason="triton is not installed")

CHECKOUT = Path(__file__).parents[1]


def run(*command: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"B4R_FAST_STAND_IN": "1", "TRITON_INTERPRET": "1"}
    return subprocess.run([sys.executable, *command], env=environment, cwd=CHECKOUT, capture_output=True, text=True, timeout=250)


def test_every_op_and_a_model_pass_on_a_stand_in():
    chosen = "everything_is_written or leaves_out or of_the_reference or model_trains or two_runs or not_overflow"
    files = ("backends/test_triton.py", "ops/test_registration.py", "ops/test_losses.py", "ops/test_attention.py")
    done = run("-m", "pytest", "-m", "gpu", "-k", chosen, *(f"tests/{file}" for file in files))
    assert done.returncode == 0, done.stdout[-2000:]
    assert "skipped" not in done.stdout


LEFT_BEHIND = """
import torch
from tests import stand_in_gpu
stand_in_gpu.install()
x = torch.arange(3, device=stand_in_gpu.NAME)
assert (x + x).device.type == stand_in_gpu.NAME
try:
    x + torch.arange(3)
except RuntimeError as error:
    print(error)
"""


def test_a_tensor_that_is_left_on_the_cpu_is_seen():
    assert "takes tensors on absent and on the CPU, those of shapes [(3,)]" in run("-c", LEFT_BEHIND).stdout
