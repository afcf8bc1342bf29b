"""One op of one contender on one batch: what the ops' modules build."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..batch import Batch


class Op:
    """make: batch -> (function, inputs): the function of the inputs that is timed, forward and
    backward to all of them.

    differentiable: False leaves the backward out. canonical: brings an output into the form of
    b4r_fast's, for the tests. static_shapes: warm up on the batch that is measured, where making
    the inputs twice would take long, or another batch compiles anew. package: whose version the
    report gives.
    """

    versions: str

    def __init__(
        self,
        make: Callable[[Batch], tuple[Callable, tuple[Tensor, ...]]],
        *,
        differentiable: bool = True,
        static_shapes: bool = False,
        canonical: Callable[[Batch, Any], Any] = lambda batch, out: out,
        package: str = "torch",
    ) -> None:
        self.make, self.differentiable, self.static_shapes, self.canonical = (
            make,
            differentiable,
            static_shapes,
            canonical,
        )
        self.package = package

    def load(self, batch: Batch) -> None:
        torch.manual_seed(0)  # so that all contenders draw the same inputs
        self.function, inputs = self.make(batch)
        self.inputs = tuple(tensor.requires_grad_(self.differentiable) for tensor in inputs)
        self.incoming: Tensor | None = None

    def forward(self) -> Any:
        return self.function(*self.inputs)

    def backward(self, out: Tensor) -> tuple[Tensor, ...]:
        if self.incoming is None:
            self.incoming = torch.randn_like(out)
        return torch.autograd.grad(out, self.inputs, self.incoming)
