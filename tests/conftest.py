"""Shared by all tests. Without a GPU, Triton's kernels run in its interpreter, which must be chosen before triton is imported, and the CUDA
kernels as they are compiled for the CPU (tests/cuda_on_cpu), whose module must be there before the backend is imported."""

import os
from pathlib import Path

import pytest
import torch

from . import cuda_on_cpu

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
    cuda_on_cpu.install()

GPU = "cuda" if torch.cuda.is_available() else None

if os.environ.get("B4R_FAST_STAND_IN"):
    from . import stand_in_gpu

    stand_in_gpu.install()
    GPU = stand_in_gpu.NAME

torch.set_float32_matmul_precision("highest")  # what the kernels are held to computes without TF32

MINUTES_TO_COMPILE = 20  # of a gpu test: Triton compiles for a GPU what it has not met yet

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real sequences beside the checkout."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real data sets do not lie beside this checkout")
    return SHARED_DATA


@pytest.fixture(autouse=True)
def _same_start():
    torch.manual_seed(0)


@pytest.fixture(scope="module", params=["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def device(request) -> torch.device:
    """Where a test has its tensors."""
    return torch.device(GPU if request.param == "gpu" else "cpu")


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.timeout(MINUTES_TO_COMPILE * 60))
            if GPU is None:
                item.add_marker(pytest.mark.skip(reason="torch finds no GPU here"))
