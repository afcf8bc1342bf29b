"""That the tests marked gpu keep what they make on the device: some of each op pass on a stand-in, which sees what is left behind."""

import pytest

from .stand_in_gpu import UNAVAILABLE, run

pytestmark = pytest.mark.skipif(UNAVAILABLE is not None, reason=str(UNAVAILABLE))


def test_every_op_and_a_model_pass_on_a_stand_in():
    chosen = "everything_is_written or leaves_out or of_the_reference or model_trains or two_runs or not_overflow or small"
    files = (
        "backends/test_gpu_kernels.py",
        "backends/test_cuda.py",
        "ops/test_registration.py",
        "ops/test_losses.py",
        "ops/test_attention.py",
    )
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
