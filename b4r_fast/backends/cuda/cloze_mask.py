"""Glue to csrc/cuda/cloze_mask.cu, which has the maths."""

from __future__ import annotations

import torch
from torch import Tensor

from ..addresses import addresses
from .module import native, stream


def cloze_mask(
    values: Tensor,
    cu_seqlens: Tensor,
    mask_prob: float,
    last_only: float,
    mask_id: int,
    seed: Tensor,
) -> tuple[Tensor, Tensor]:
    values, cu_seqlens = values.contiguous(), cu_seqlens.contiguous()
    inputs, labels = torch.empty_like(values), torch.empty_like(values)
    thresholds = round(mask_prob * 2**32), round(last_only * 2**32)
    tensors = addresses(values, cu_seqlens, inputs, labels)
    native.cloze_mask(
        *tensors, cu_seqlens.shape[0] - 1, *thresholds, mask_id, seed.data_ptr(), stream(values)
    )
    return inputs, labels


OPERATORS = (cloze_mask,)
