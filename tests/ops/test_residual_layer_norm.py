"""The op in every backend: C++ in each instruction set that runs here, Triton (interpreted without a GPU), and the reference."""

import os
import subprocess
import sys

import pytest
import torch
from torch.nn.functional import layer_norm

from b4r_fast import ops, use_backend
from b4r_fast.backends.cpu.instruction_sets import SUPPORTED

EPS = 1e-6
SEED = torch.tensor(-5_000_000_123)

# No row; one number; sizes off every vector and octet; more rows than a task of the C++ loop; the paper's size; the largest.
SHAPES = [(0, 8), (1, 1), (3, 7), (300, 20), (129, 64), (5, 1024)]


def tensors(rows: int, d: int, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    return [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in ((rows, d), (rows, d), (d,), (d,))]


def gradient(y: torch.Tensor) -> torch.Tensor:
    """The same incoming gradient in every dtype."""
    return torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y.dtype)


def run(inputs: list[torch.Tensor], dropout_p: float) -> list[torch.Tensor]:
    y = ops.residual_layer_norm(*inputs, eps=EPS, dropout_p=dropout_p, seed=SEED)
    return [y, *torch.autograd.grad(y, inputs, gradient(y))]


@pytest.mark.parametrize(("rows", "d"), SHAPES)
def test_without_dropout_it_is_torchs_layer_norm(rows, d):
    inputs = tensors(rows, d, torch.float64)
    x, sublayer, weight, bias = inputs
    torch.testing.assert_close(ops.residual_layer_norm(*inputs, eps=EPS), layer_norm(x + sublayer, (d,), weight, bias, EPS))


@pytest.mark.parametrize("backend", ["cpu", "triton"])
@pytest.mark.parametrize("dropout_p", [0.0, 0.3])
@pytest.mark.parametrize(("rows", "d"), SHAPES)
def test_every_backend_agrees_with_the_reference_in_fp64(backend, dropout_p, rows, d):
    inputs = tensors(rows, d)
    with use_backend("reference"):
        oracle = run([t.detach().double().requires_grad_() for t in inputs], dropout_p)
    with use_backend(backend):
        results = run(inputs, dropout_p)
    for ours, expected in zip(results, oracle):
        scale = float(expected.detach().abs().max()) if expected.numel() else 1.0
        # One number a row has no variance: its normalised value is the rounding error over eps^1/2.
        torch.testing.assert_close(ours.double(), expected, rtol=0, atol=2e-6 * max(1.0, scale) if d > 1 else 1.0)


@pytest.mark.parametrize("backend", ["cpu", "triton"])
@pytest.mark.parametrize(("rows", "d"), [(300, 20), (129, 64), (3, 7)])
def test_every_backend_drops_the_same_elements(backend, rows, d):
    """dsublayer is 0 exactly where the element was dropped."""
    inputs = tensors(rows, d)
    masks = []
    for name in ("reference", backend):
        with use_backend(name):
            masks.append(run(inputs, 0.3)[2] == 0)
    assert torch.equal(*masks)
    assert 0 < masks[0].double().mean() < 1


@pytest.mark.parametrize("backend", ["reference", "cpu", "triton"])
def test_the_backward_of_one_backend_takes_the_forward_of_another(backend):
    inputs = tensors(40, 24)
    expected = run(inputs, 0.3)
    y = ops.residual_layer_norm(*inputs, eps=EPS, dropout_p=0.3, seed=SEED)
    with use_backend(backend):
        gradients = torch.autograd.grad(y, inputs, gradient(y))
    torch.testing.assert_close(gradients, tuple(expected[1:]), rtol=1e-5, atol=1e-5)


def test_the_bits_do_not_depend_on_the_number_of_threads():
    inputs = tensors(1000, 48)
    results = []
    before = torch.get_num_threads()
    for threads in (1, 2, 7):
        torch.set_num_threads(threads)
        results.append(run(inputs, 0.3))
    torch.set_num_threads(before)
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other))


def test_everything_is_written(monkeypatch):
    """Outputs and workspaces filled with NaN before the kernels run come back without any."""
    inputs = tensors(130, 20)
    new_empty = torch.Tensor.new_empty

    def poisoned(self, *size, **kw):
        fresh = new_empty(self, *size, **kw)
        return fresh.fill_(torch.nan) if fresh.is_floating_point() else fresh

    monkeypatch.setattr(torch.Tensor, "new_empty", poisoned)
    monkeypatch.setattr(torch, "empty_like", lambda t, **kw: poisoned(t, t.shape, **kw))
    for backend in ("cpu", "triton"):
        with use_backend(backend):
            assert not any(t.isnan().any() for t in run(inputs, 0.3))


def test_transposed_and_sliced_inputs_serve():
    x, sublayer = torch.randn(20, 50).T, torch.randn(50, 40)[:, ::2]
    weight, bias = torch.randn(40)[::2], torch.randn(20)
    strided = ops.residual_layer_norm(x, sublayer, weight, bias, eps=EPS)
    assert torch.equal(strided, ops.residual_layer_norm(x.contiguous(), sublayer.contiguous(), weight.contiguous(), bias, eps=EPS))


@pytest.mark.parametrize("isa", SUPPORTED)
def test_every_instruction_set_runs_and_agrees(isa):
    """In a process of its own, since the module is chosen at import."""
    program = (
        "import torch; from tests.ops.test_residual_layer_norm import run, tensors, use_backend;"
        "from b4r_fast.backends.cpu import instruction_sets; torch.manual_seed(0); inputs = tensors(130, 37); native = run(inputs, 0.3)\n"
        "with use_backend('reference'): expected = run(inputs, 0.3)\n"
        "torch.testing.assert_close(native, expected, rtol=1e-5, atol=1e-5); assert torch.equal(native[2] == 0, expected[2] == 0)\n"
        "print(instruction_sets.ISA)"
    )
    environment = os.environ | {"B4R_FAST_ISA": isa}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == isa, done.stderr


def test_an_instruction_set_that_cannot_run_is_refused():
    environment = os.environ | {"B4R_FAST_ISA": "sse9"}
    program = "import b4r_fast; b4r_fast.backends()"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120)
    assert "B4R_FAST_ISA must be one that runs on this CPU, baseline" in done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_it_works_after_a_fork():
    """libgomp's threads do not survive a fork: a child that waited for them would hang for ever."""
    inputs = [t.detach() for t in tensors(1000, 48)]
    before = ops.residual_layer_norm(*inputs, eps=EPS).numpy()
    child = os.fork()
    if child == 0:
        after = ops.residual_layer_norm(*inputs, eps=EPS).numpy()
        os._exit(0 if (before == after).all() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_wrong_arguments_are_named():
    x, sublayer, weight, bias = tensors(4, 8)
    with pytest.raises(ValueError, match=r"sublayer must have shape \(T, d\) with T=4, d=8, got \(3, 8\)"):
        ops.residual_layer_norm(x, sublayer[:3], weight, bias, eps=EPS)
    with pytest.raises(ValueError, match=r"weight must have the dtype of the other tensors, torch.float32, got torch.float64"):
        ops.residual_layer_norm(x, sublayer, weight.double(), bias, eps=EPS)
    with pytest.raises(ValueError, match=r"x must be a torch\.Tensor, got list"):
        ops.residual_layer_norm([[1.0]], sublayer, weight, bias, eps=EPS)
