"""What the native functions of every backend take: addresses of contiguous tensors."""

from __future__ import annotations

from torch import Tensor


def addresses(*tensors: Tensor | None) -> list[int]:
    """What the native functions take: where the elements start, 0 for None. The tensors must be
    contiguous, and outlive the call.
    """
    return [0 if t is None else t.data_ptr() for t in tensors]


def contiguous(*tensors: Tensor | None) -> tuple:
    """The tensors, copied where they are not contiguous."""
    return tuple(None if t is None else t.contiguous() for t in tensors)
