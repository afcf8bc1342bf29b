"""Glue to csrc/cpu/cloze_mask.cpp, which has the rule."""

from __future__ import annotations

import torch
from torch import Tensor

from ..addresses import addresses
from .instruction_sets import native


def cloze_mask(
    values: Tensor,
    cu_seqlens: Tensor,
    mask_prob: float,
    last_only: float,
    mask_id: int,
    seed: Tensor,
) -> tuple[Tensor, Tensor]:
    values, cu_seqlens = values.contiguous(), cu_seqlens.contiguous()
    inputs, labels = values.new_empty(values.shape), values.new_empty(values.shape)
    thresholds = round(mask_prob * 2**32), round(last_only * 2**32)
    tensors = addresses(values, cu_seqlens, inputs, labels)
    native.cloze_mask(
        *tensors, len(cu_seqlens) - 1, *thresholds, mask_id, int(seed), torch.get_num_threads()
    )
    return inputs, labels


OPERATORS = (cloze_mask,)
