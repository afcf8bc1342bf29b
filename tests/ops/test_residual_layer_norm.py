"""The op in every backend: C++ in each instruction set that runs here, Triton (interpreted without
a GPU), and the reference.
"""

import os
import subprocess
import sys

import pytest
import torch
from torch.nn.functional import layer_norm

from b4r_fast import ops, use_backend
from b4r_fast.backends.cpu.instruction_sets import SUPPORTED

from .accuracy import assert_as_accurate_as_torch
from .native import assert_passes_in, assert_same_bits_for_any_number_of_threads, poison

EPS = 1e-6
SEED = torch.tensor(-5_000_000_123)

# No row; one number; sizes off every vector and octet; more rows than a task of the C++ loop; the
# paper's size; the largest.
SHAPES = [(0, 8), (1, 1), (3, 7), (300, 20), (129, 64), (5, 1024)]


def tensors(rows: int, d: int, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    return [
        torch.randn(shape, dtype=dtype, requires_grad=True)
        for shape in ((rows, d), (rows, d), (d,), (d,))
    ]


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
    torch.testing.assert_close(
        ops.residual_layer_norm(*inputs, eps=EPS), layer_norm(x + sublayer, (d,), weight, bias, EPS)
    )


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
        torch.testing.assert_close(
            ours.double(), expected, rtol=0, atol=2e-6 * max(1.0, scale) if d > 1 else 1.0
        )


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
    assert_same_bits_for_any_number_of_threads(lambda: run(inputs, 0.3))


@pytest.mark.parametrize("backend", ["cpu", "triton"])
def test_everything_is_written(backend, monkeypatch):
    """Outputs and workspaces filled with NaN before the kernels run come back without any."""
    inputs = tensors(130, 20)
    poison(monkeypatch)
    with use_backend(backend):
        assert not any(t.isnan().any() for t in run(inputs, 0.3))


@pytest.mark.parametrize(("rows", "d"), [(300, 20), (1030, 64), (40, 1024)])
def test_it_is_as_accurate_as_torch(rows, d):
    """Where the rows' mean is far from 0, which a sum of squares in one pass would not survive."""
    assert_as_accurate_as_torch(
        lambda *args: ops.residual_layer_norm(*args, eps=EPS),
        lambda x, sublayer, weight, bias: layer_norm(x + sublayer, (d,), weight, bias, EPS),
        [torch.randn(rows, d) + 30, torch.randn(rows, d), torch.randn(d), torch.randn(d)],
    )


def test_transposed_and_sliced_inputs_serve():
    x, sublayer = torch.randn(20, 50).T, torch.randn(50, 40)[:, ::2]
    weight, bias = torch.randn(40)[::2], torch.randn(20)
    strided = ops.residual_layer_norm(x, sublayer, weight, bias, eps=EPS)
    assert torch.equal(
        strided,
        ops.residual_layer_norm(
            x.contiguous(), sublayer.contiguous(), weight.contiguous(), bias, eps=EPS
        ),
    )


def every_number_of_columns_agrees_with_the_reference():
    """Whole vectors and octets, none, and all remainders, on both sides of the largest vector."""
    for d in [*range(1, 35), 47, 63, 64, 65, 100, 129]:
        inputs = tensors(135, d)
        native = run(inputs, 0.3)
        with use_backend("reference"):
            expected = run(inputs, 0.3)
        # Few numbers a row may have next to no variance, and a gradient of 0 without being dropped.
        tolerance = 1e-5 if d > 4 else 0.1
        torch.testing.assert_close(native, expected, rtol=tolerance, atol=tolerance)
        assert d <= 4 or torch.equal(native[2] == 0, expected[2] == 0)


@pytest.mark.parametrize("isa", SUPPORTED)
def test_every_instruction_set_agrees_with_the_reference(isa):
    assert_passes_in(isa, every_number_of_columns_agrees_with_the_reference)


def test_an_instruction_set_that_cannot_run_is_refused():
    environment = os.environ | {"B4R_FAST_ISA": "sse9"}
    program = "import b4r_fast; b4r_fast.backends()"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "B4R_FAST_ISA must be one that runs on this CPU, baseline" in done.stderr


def test_wrong_arguments_are_named():
    x, sublayer, weight, bias = tensors(4, 8)
    with pytest.raises(
        ValueError, match=r"sublayer must have shape \(T, d\) with T=4, d=8, got \(3, 8\)"
    ):
        ops.residual_layer_norm(x, sublayer[:3], weight, bias, eps=EPS)
    with pytest.raises(
        ValueError,
        match=r"weight must have the dtype of the other tensors, torch.float32, got torch.float64",
    ):
        ops.residual_layer_norm(x, sublayer, weight.double(), bias, eps=EPS)
    with pytest.raises(ValueError, match=r"x must be a torch\.Tensor, got list"):
        ops.residual_layer_norm([[1.0]], sublayer, weight, bias, eps=EPS)
