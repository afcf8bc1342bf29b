"""What holds for every kernel in C++: right in every instruction set, the same bits for any number of threads, nothing left unwritten."""

import os
import subprocess
import sys

import pytest
import torch

from b4r_fast import use_backend
from b4r_fast.backends.cpu.instruction_sets import SUPPORTED

from ..ops.accuracy import error
from ..ops.native import assert_same_bits_for_any_number_of_threads, poison
from .large_cases import LARGE_CASES, results, tensors

pytestmark = pytest.mark.skipif(not SUPPORTED, reason="the native modules are not built")

# The reference in fp32 is a plain composition of PyTorch's ops; a kernel may be twice as far from fp64. The floor is some roundings.
FACTOR, FLOOR = 2.0, 5e-7


@pytest.fixture(scope="module")
def oracle() -> dict[str, list[torch.Tensor]]:
    with use_backend("reference"):
        return {name: results(name, torch.float64) for name in LARGE_CASES}


@pytest.fixture(scope="module")
def allowed(oracle) -> dict[str, list[float]]:
    with use_backend("reference"):
        return {name: [max(FACTOR * error(a, b), FLOOR) for a, b in zip(results(name), oracle[name])] for name in LARGE_CASES}


@pytest.mark.parametrize("isa", SUPPORTED)
def test_every_instruction_set_is_as_accurate_as_pytorch(isa, oracle, allowed, tmp_path):
    """In a process of its own, since the module is chosen at import."""
    command = [sys.executable, "-m", "tests.backends.large_cases", tmp_path / "results.pt"]
    done = subprocess.run(command, env=os.environ | {"B4R_FAST_ISA": isa}, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    saved = torch.load(tmp_path / "results.pt")
    for name in LARGE_CASES:
        for i, (ours, exact, limit) in enumerate(zip(saved[name], oracle[name], allowed[name])):
            assert error(ours, exact) <= limit, f"{name}: result {i} of {isa} is {error(ours, exact):.2e} off, allowed {limit:.2e}"


@pytest.mark.parametrize("name", LARGE_CASES)
def test_the_bits_do_not_depend_on_the_number_of_threads_or_the_run(name):
    assert_same_bits_for_any_number_of_threads(lambda: results(name))


@pytest.mark.parametrize("name", LARGE_CASES)
def test_everything_is_written(name, monkeypatch):
    """Outputs filled with NaN before the kernels run come back without any."""
    poison(monkeypatch)
    assert all(t.isfinite().all() for t in results(name))


@pytest.mark.parametrize("name", LARGE_CASES)
def test_inputs_stay_as_they_are_and_the_backward_runs_twice(name):
    inputs = [t.requires_grad_() for t in tensors(name)]
    out = LARGE_CASES[name][0](*inputs)
    first = torch.autograd.grad(out.square().sum(), inputs, retain_graph=True)
    second = torch.autograd.grad(out.square().sum(), inputs)
    assert all(torch.equal(a, b) for a, b in zip(first, second))
    assert all(torch.equal(a, b) for a, b in zip(inputs, tensors(name)))


@pytest.mark.parametrize("name", LARGE_CASES)
def test_expanded_and_strided_incoming_gradients_serve(name):
    inputs = [t.requires_grad_() for t in tensors(name)]
    out = LARGE_CASES[name][0](*inputs)
    ones = torch.ones_like(out)
    expected = torch.autograd.grad(out, inputs, ones, retain_graph=True)
    expanded = torch.autograd.grad(out, inputs, torch.ones(()).expand(out.shape), retain_graph=True)
    strided = torch.autograd.grad(out, inputs, torch.ones(*out.shape, 2)[..., 0])
    for gradients in (expanded, strided):
        assert all(torch.equal(a, b) for a, b in zip(expected, gradients))
