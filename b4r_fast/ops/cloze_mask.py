"""Hide items of packed sequences for the Cloze task (paper, section 3.6)."""

from __future__ import annotations

import torch
from torch import Tensor

from .checks import check_offsets, check_seed, check_tensors
from .registration import define


def _fake(values, cu_seqlens, mask_prob, last_only, mask_id, seed):
    return torch.empty_like(values), torch.empty_like(values)


def _check_values(values, cu_seqlens, *_):
    check_offsets("cu_seqlens", cu_seqlens, values.shape[0])


_cloze_op = define(
    "cloze_mask(Tensor values, Tensor cu_seqlens, float mask_prob, float last_only, int mask_id,"
    " Tensor seed)"
    " -> (Tensor inputs, Tensor labels)",
    _fake,
    check_values=_check_values,
)


def cloze_mask(
    values: Tensor,
    cu_seqlens: Tensor,
    *,
    mask_prob: float,
    last_only: float = 0.0,
    mask_id: int,
    seed: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Replace hidden items by [MASK] and return (inputs, labels), both (tokens,) int64; labels are
    -100 where nothing is hidden.

    values: (tokens,) int64; 0 is padding and never hidden. cu_seqlens: (batch + 1,) int32.
    mask_prob: every item is hidden with this probability, and one of a sequence at least.
    last_only: with this probability a sequence hides its last item alone, as at test time. seed:
    int64 scalar tensor; None draws one from torch's generator. Raises ValueError for a wrong shape,
    dtype, device, offsets, or a probability outside [0, 1].
    """
    check_tensors(torch.int64, {}, values=(values, "tokens"))
    check_tensors(torch.int32, {}, values, cu_seqlens=(cu_seqlens, "batch+1"))
    for name, probability in (("mask_prob", mask_prob), ("last_only", last_only)):
        if not 0.0 <= probability <= 1.0:
            raise ValueError(f"{name} must lie in [0, 1], got {probability}")
    return _cloze_op(
        values, cu_seqlens, mask_prob, last_only, mask_id, check_seed(seed, values.device)
    )
