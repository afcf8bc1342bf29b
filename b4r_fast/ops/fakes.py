"""What several ops have as outputs, made without values for their fake implementations."""

from __future__ import annotations

import torch
from torch import Tensor


def fake_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Two numbers a row, at least fp32."""
    mean = x.new_empty(x.shape[0], dtype=torch.promote_types(x.dtype, torch.float32))
    return mean, torch.empty_like(mean)


def fake_losses(hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """loss, dhidden and the log-sum-exp."""
    loss, lse = fake_statistics(hidden)
    return loss, hidden.new_empty(hidden.shape), lse


def fake_gradients(*tensors: Tensor | None) -> tuple[Tensor | None, ...]:
    """A gradient for each, contiguous as all outputs of our operators are."""
    return tuple(None if x is None else x.new_empty(x.shape) for x in tensors)
