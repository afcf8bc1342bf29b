"""Shared by all tests. Without a GPU, Triton's kernels run in its interpreter, which must be chosen before triton is imported."""

import os
from pathlib import Path

import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

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


def pytest_collection_modifyitems(items):
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="torch finds no GPU here"))
