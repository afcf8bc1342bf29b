"""What Triton's interpreter cannot see: that every launch compiles for real GPUs, keeps in registers, fits, and uses tensor cores."""

from itertools import product

import pytest

pytest.importorskip("triton", reason="triton is not installed")

from .compile_triton import faults

pytestmark = pytest.mark.timeout(60 * 60)  # from nothing on two cores they take 25 minutes together

TARGETS = ("sm_80", "sm_90", "sm_100", "gfx942")


@pytest.mark.parametrize(("target", "dtype"), [*product(TARGETS, ("bf16", "fp32", "fp16")), ("sm_86", "bf16")])
def test_every_launch_compiles_without_a_fault(target, dtype, compiled):
    assert {row["op"] for row in compiled} >= {"attention", "gelu_ffn", "softmax_loss", "residual_layer_norm", "topk", "rank"}
    assert {f"{row['op']} {row['kernel']}: {faults(row)}" for row in compiled if faults(row)} == set()
