"""Which modules a fused op may stand for.

A fused op reads weights and calls no module, so it may only stand for modules that do what it does:
those of torch itself, without hooks and with their own forward. An adapter, a pruned or quantized
layer, or one that somebody watches or wraps is called as a module, and the ops compute the rest.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

PLAIN = (nn.Linear, nn.LayerNorm, nn.Embedding)


class Affine(NamedTuple):
    """A linear layer that is its weights alone: weight (out, in) and bias (out,)."""

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight, self.bias)


class Normalised(NamedTuple):
    """A LayerNorm that is its weights alone: (d,) each."""

    weight: Tensor
    bias: Tensor
    eps: float

    def __call__(self, x: Tensor) -> Tensor:
        return nn.functional.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.eps)


def only_read(*modules: nn.Module | Affine | Normalised) -> bool:
    """Whether reading the weights of these modules is all that calling them would do."""
    return not _has_any_global_hook() and all(map(_is_plain, modules))


def _is_plain(module: nn.Module | Affine | Normalised) -> bool:
    if isinstance(module, Affine | Normalised):
        return True
    hooks = (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )
    wrapped = "forward" in vars(module)  # as accelerate does
    return type(module) in PLAIN and not wrapped and not any(hooks)
