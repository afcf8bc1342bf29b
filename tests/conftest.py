"""Shared by all tests: what the kernels for GPUs run on (--on), and which tests run.

    gpu          the GPU, where torch finds one
    interpreter  elsewhere: Triton's kernels in its interpreter, the CUDA ones as they are compiled
                 for the CPU (tests/cuda_on_cpu)
    ttsem        Triton's as its compiler lowers them, executed on the CPU
                 (without_a_gpu/ttsem_runner.py)
    compiler     nothing: Triton's are compiled for GPUs that are not there
                 (without_a_gpu/compiler.py)
    stand-in     the interpreter, on tensors that say they are elsewhere, for the tests marked gpu
                 (without_a_gpu/stand_in.py)

It is settled before Triton and the backends are imported.
"""

import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from . import cuda_on_cpu
from .lanes.sample import tenth

FOUND_A_GPU = torch.cuda.is_available()
ON = ("gpu", "interpreter", "ttsem", "compiler", "stand-in")
GPU = pytest.StashKey[str | None]()  # the device of the tests marked gpu
STACK = pytest.StashKey[ExitStack]()

torch.set_float32_matmul_precision("highest")  # what the kernels are held to computes without TF32

MINUTES_TO_COMPILE = 20  # of a gpu test: Triton compiles for a GPU what it has not met yet

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_addoption(parser):
    parser.addoption(
        "--on",
        choices=ON,
        default="gpu" if FOUND_A_GPU else "interpreter",
        help="what the kernels for GPUs run on",
    )
    parser.addoption(
        "--tenth-of", metavar="COMMIT", help="run a tenth of the tests; each commit has another"
    )


def pytest_configure(config):
    on, stack = config.getoption("on"), ExitStack()
    config.stash[STACK], config.stash[GPU] = stack, "cuda" if on == "gpu" else None
    if on in ("interpreter", "stand-in"):
        os.environ["TRITON_INTERPRET"] = "1"
        cuda_on_cpu.install()
    if on == "stand-in":
        from .without_a_gpu import stand_in

        stand_in.install()
        config.stash[GPU] = stand_in.NAME
    if on == "ttsem":
        from .without_a_gpu import ttsem_runner

        stack.enter_context(ttsem_runner.open_session())
    if on == "compiler":
        from .without_a_gpu import compiler

        compiler.install(compiler.note)


def pytest_unconfigure(config):
    config.stash[STACK].close()


@pytest.hookimpl(trylast=True)  # of what -m and -k have left
def pytest_collection_modifyitems(config, items):
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.timeout(MINUTES_TO_COMPILE * 60))
            if config.stash[GPU] is None:
                item.add_marker(pytest.mark.skip(reason="torch finds no GPU here"))
    # What takes longest begins first, or one worker would end long after the other.
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
    if commit := config.getoption("tenth_of"):
        chosen = tenth([item.nodeid for item in items], commit)
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in chosen])
        items[:] = [item for item in items if item.nodeid in chosen]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real sequences beside the checkout."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real data sets do not lie beside this checkout")
    return SHARED_DATA


@pytest.fixture
def found(record_property) -> Callable[..., None]:
    """Notes what a test of a lane has found out, by a name that is the lane's own, for the record
    (lanes/record.py).
    """
    return lambda name, **what: record_property("found", json.dumps({name: what}))


@pytest.fixture(autouse=True)
def _same_start():
    torch.manual_seed(0)


@pytest.fixture(scope="module", params=["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def device(request) -> torch.device:
    """Where a test has its tensors."""
    return torch.device(request.config.stash[GPU] if request.param == "gpu" else "cpu")
