"""That the tests marked gpu keep what they make on the device: some of each op pass on a stand-in,
which sees what is left behind.
"""

import re

import pytest

from .without_a_gpu.stand_in import UNAVAILABLE, run

pytestmark = pytest.mark.skipif(UNAVAILABLE is not None, reason=str(UNAVAILABLE))


CHOSEN = (
    "everything_is_written or leaves_out or of_the_reference or model_trains or two_runs or"
    " not_overflow or small"
)


@pytest.mark.kernels
@pytest.mark.parametrize(
    "file",
    [
        "backends/test_gpu_kernels",
        "backends/test_cuda",
        "ops/test_registration",
        "ops/test_losses",
        "ops/test_attention",
    ],
)
def test_every_op_and_a_model_pass_on_a_stand_in(file, found):
    done = run("-m", "pytest", "--on", "stand-in", "-m", "gpu", "-k", CHOSEN, f"tests/{file}.py")
    assert done.returncode == 0, done.stdout[-2000:]
    assert "skipped" not in done.stdout
    found(file, tests=int(re.search(r"(\d+) passed", done.stdout)[1]))


LEFT_BEHIND = """
import torch
from tests.without_a_gpu import stand_in
stand_in.install()
x = torch.arange(3, device=stand_in.NAME)
assert (x + x).device.type == stand_in.NAME
try:
    x + torch.arange(3)
except RuntimeError as error:
    print(error)
"""


def test_a_tensor_that_is_left_on_the_cpu_is_seen():
    assert (
        "takes tensors on absent and on the CPU, those of shapes [(3,)]"
        in run("-c", LEFT_BEHIND).stdout
    )
