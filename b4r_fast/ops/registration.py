"""How an op is registered with torch.library: schema, kernels chosen by the backends, fake
implementation, checks of values, autograd.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from .. import backends

LIBRARY = torch.library.Library("b4r_fast", "DEF")


def define(
    schema: str, fake: Callable, *, check_values: Callable | None = None, like: str | None = None
) -> torch._ops.OpOverload:
    """Define b4r_fast::name by its schema and return it.

    like: the argument that decides device and dtype, and so the backend; None for the first.
    check_values: called with all arguments before the kernel, for tensors on the CPU only, where
    reading them waits for nothing; it raises ValueError for what would make a kernel read out of
    bounds.
    """
    name = schema.partition("(")[0]
    arguments = [argument.name for argument in torch._C.parse_schema(schema).arguments]
    place = 0 if like is None else arguments.index(like)

    def run(*args):
        return backends.implementation(name, args[place])(*args)

    def check_and_run(*args):
        if check_values is not None:
            check_values(*args)
        return run(*args)

    LIBRARY.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    LIBRARY.impl(name, check_and_run, "CPU")
    LIBRARY.impl(name, run, "CUDA")
    torch.library.register_fake(f"b4r_fast::{name}", fake, lib=LIBRARY)
    return getattr(torch.ops.b4r_fast, name).default


class _FirstDerivative(torch.autograd.Function):
    """Gradients as they are, with a backward that refuses where PyTorch would go on with 0 or a
    part of the second derivative.

    origins: what the gradients come from, so that whoever differentiates by it passes here; one of
    its own for all others.
    """

    @staticmethod
    def forward(ctx, gradients, _, *origins):
        return tuple(None if g is None else g.view_as(g) for g in gradients)

    @staticmethod
    def backward(ctx, *_):
        raise RuntimeError("b4r_fast has first derivatives only")


def differentiate(
    operator: torch._ops.OpOverload, backward: Callable, setup_context: Callable
) -> None:
    """Register the op's autograd formula, for first derivatives."""

    def setup(ctx, inputs, output):
        # Or the outputs that are not differentiable get gradients of zeros.
        ctx.set_materialize_grads(False)
        setup_context(ctx, inputs, output)

    def backward_once(ctx, *gradients):
        if all(g is None for g in gradients):
            return (None,) * len(ctx.needs_input_grad)
        if not torch.is_grad_enabled():
            return backward(ctx, *gradients)
        with torch.no_grad():
            results = backward(ctx, *gradients)
        results = results if isinstance(results, tuple) else (results,)
        return _FirstDerivative.apply(
            results, torch.ones((), requires_grad=True), *gradients, *ctx.saved_tensors
        )

    torch.library.register_autograd(
        operator.name(), backward_once, setup_context=setup, lib=LIBRARY
    )
