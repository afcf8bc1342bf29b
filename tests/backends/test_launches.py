"""A training step on a GPU: how many launches, none that waits for a value, and the kernels that do
most of the work among them.
"""

import pytest
import torch

pytest.importorskip("triton", reason="triton is not installed")

from ..without_a_gpu.launches import launches, training_step

MOST = 60  # these models are so small that launches decide how long a step takes


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_a_training_step_is_few_launches(dtype):
    names = launches(lambda: training_step(dtype))
    assert len(names) <= MOST
    assert {"attention", "residual_ffn_layer_norm", "softmax_loss"} <= {
        name.split()[0] for name in names
    }
