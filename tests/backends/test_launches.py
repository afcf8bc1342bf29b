"""A training step on a GPU: how many launches, none that waits for a value, and the kernels that do most of the work among them."""

import pytest
import torch

pytest.importorskip("triton", reason="triton is not installed")

from .launches import launches, training_step


# These models are so small that launches decide how long a step takes. In fp32, which uses no tensor cores, some programs cannot hold what
# a fused kernel needs, and libraries' products stand in for it.
@pytest.mark.parametrize(("dtype", "most"), [(torch.bfloat16, 60), (torch.float16, 60), (torch.float32, 65)])
def test_a_training_step_is_few_launches(dtype, most):
    names = launches(lambda: training_step(dtype))
    assert len(names) <= most
    assert {"attention", "residual_ffn_layer_norm", "softmax_loss"} <= {name.split()[0] for name in names}
