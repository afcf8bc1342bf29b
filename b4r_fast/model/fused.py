"""Which modules a fused op may stand for.

A fused op reads weights and calls no module, so it may only stand for modules that do what it does:
those of torch itself, without hooks and with their own forward. An adapter, a pruned or quantized
layer, or one that somebody watches or wraps is called as a module, and the ops compute the rest.
"""

from __future__ import annotations

from torch import nn
from torch.nn.modules.module import _has_any_global_hook

PLAIN = (nn.Linear, nn.LayerNorm, nn.Embedding)


def only_read(*modules: nn.Module) -> bool:
    """Whether reading the weights of these modules is all that calling them would do."""
    return not _has_any_global_hook() and all(map(_is_plain, modules))


def _is_plain(module: nn.Module) -> bool:
    hooks = (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )
    wrapped = "forward" in vars(module)  # as accelerate does
    return type(module) in PLAIN and not wrapped and not any(hooks)
