"""How far fp32 results may be from fp64: no further than twice what PyTorch's own fp32 is on the same inputs."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

# Two units in the last place of fp32, the least that an error is held to: a few numbers may happen to come out exact in PyTorch.
LEAST = 2.0**-22


def error(results: Tensor, oracle: Tensor) -> float:
    """Root of the mean square error, as a share of the root mean square of the oracle."""
    if oracle.numel() == 0:
        return 0.0
    return float((results.double() - oracle).square().mean().sqrt() / oracle.square().mean().sqrt().clamp(min=1e-300))


def assert_as_accurate_as_torch(ours: Callable, theirs: Callable, tensors: Sequence[Tensor], *, factor: float = 2.0) -> None:
    """Both are functions of the tensors with one result. Compares it, and every gradient for the same incoming one."""

    def results(function: Callable, dtype: torch.dtype) -> list[Tensor]:
        inputs = [t.detach().to(dtype).requires_grad_() for t in tensors]
        out = function(*inputs)
        incoming = torch.randn(out.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
        return [out.detach(), *torch.autograd.grad(out, inputs, incoming.to(dtype))]

    oracle = results(theirs, torch.float64)
    names = ["result", *(f"gradient of input {i}" for i in range(len(tensors)))]
    for name, mine, torchs, exact in zip(names, results(ours, torch.float32), results(theirs, torch.float32), oracle):
        allowed = max(factor * error(torchs, exact), LEAST)
        assert error(mine, exact) <= allowed, f"{name}: error {error(mine, exact):.2e}, allowed {allowed:.2e}"
