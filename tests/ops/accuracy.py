"""How far fp32 results may be from fp64: no further than twice what PyTorch's own fp32 is on the
same inputs.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from b4r_fast import use_backend

# Two units in the last place of fp32, the least that an error is held to: a few numbers may happen
# to come out exact in PyTorch.
LEAST = 2.0**-22

# The least for the backends: where PyTorch happens to sum in many lanes, as in a product with one
# row, a chain is some roundings behind; the more so where an op joins several, whose sums may
# nearly cancel (the gradient of residual_ffn_layer_norm for 14 tokens: 5.1e-7).
FLOOR = 1e-6

# What counts as 0 where the oracle is 0: the kernels' exponential ends at 2^-126.
ZERO = 1e-30


def error(results: Tensor, oracle: Tensor) -> float:
    """Root of the mean square error, as a share of the root mean square of the oracle."""
    if oracle.numel() == 0:
        return 0.0
    results, oracle = results.double(), oracle.double()
    return float(
        (results - oracle).square().mean().sqrt() / oracle.square().mean().sqrt().clamp(min=ZERO)
    )


def results(
    function: Callable, dtype: torch.dtype, tensors: Sequence[Tensor], *, seed: int = 9
) -> list[Tensor]:
    """The function's one result, and every gradient for an incoming one that is the same in every
    dtype.
    """
    inputs = [t.detach().to(dtype).requires_grad_() for t in tensors]
    out = function(*inputs)
    if not out.requires_grad:
        return [out]
    incoming = torch.randn(
        out.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    return [out.detach(), *torch.autograd.grad(out, inputs, incoming.to(out.device, dtype))]


def _assert_within(
    mine: list[Tensor], torchs: list[Tensor], oracle: list[Tensor], factor: float, least: float
) -> None:
    names = ["result", *(f"gradient of input {i}" for i in range(len(oracle) - 1))]
    for name, ours, theirs, exact in zip(names, mine, torchs, oracle, strict=True):
        allowed = max(factor * error(theirs, exact), least)
        assert error(ours, exact) <= allowed, (
            f"{name}: error {error(ours, exact):.2e}, allowed {allowed:.2e}"
        )


def assert_as_accurate_as_torch(
    ours: Callable, theirs: Callable, tensors: Sequence[Tensor], *, factor: float = 2.0
) -> None:
    """Both are functions of the tensors with one result. Compares it, and every gradient for the
    same incoming one.
    """
    single = results(ours, torch.float32, tensors), results(theirs, torch.float32, tensors)
    _assert_within(*single, results(theirs, torch.float64, tensors), factor, LEAST)


def assert_as_accurate_as_the_reference(
    call: Callable,
    shapes: Sequence[tuple[int, ...]],
    *,
    device: torch.device | str = "cpu",
    draws: int = 4,
    most_draws: int = 64,
) -> None:
    """The same for an op, held against itself in the reference, on normal numbers.

    The errors of several draws are taken together, of more, up to most_draws, where a tensor has a
    handful of numbers: one may come out exact by luck, or be a sum that nearly cancels.
    """
    draws = max(draws, *(min(most_draws, 256 // max(math.prod(shape), 1)) for shape in shapes), 1)
    drawn = [[torch.randn(shape).to(device) for shape in shapes] for _ in range(draws)]

    def pooled(dtype: torch.dtype) -> list[Tensor]:
        every = [results(call, dtype, tensors, seed=i) for i, tensors in enumerate(drawn)]
        return [torch.cat([part.flatten() for part in parts]) for parts in zip(*every)]

    mine = pooled(torch.float32)
    with use_backend("reference"):
        _assert_within(mine, pooled(torch.float32), pooled(torch.float64), 2.0, FLOOR)
