import pytest
import torch

from b4r_fast import backends

if not backends()["cpu"].startswith("available"):
    pytest.skip("the native modules are not built", allow_module_level=True)

from b4r_fast.backends.cpu import machine_limits


def test_the_limits_are_rates_that_a_cpu_of_these_years_has():
    assert 0.5 < machine_limits.fma_rate(0.01, threads=1) < 1000  # GFLOP/s
    assert 0.1 < machine_limits.read_bandwidth(torch.zeros(1 << 22)) < 10_000  # GB/s


def test_only_contiguous_fp32_is_read():
    with pytest.raises(ValueError, match="numbers must be a contiguous float32 tensor on the CPU"):
        machine_limits.read_bandwidth(torch.zeros(8, dtype=torch.float64))
