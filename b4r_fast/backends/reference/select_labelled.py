"""The first `rows` tokens with a label, and the first without one where those are fewer, in the
order of the tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..labels import IGNORED


def select_labelled(labels: Tensor, cu_seqlens: Tensor, rows: int) -> tuple[Tensor, Tensor, Tensor]:
    labelled = labels != IGNORED
    labelled_before = labelled.cumsum(0) - labelled.long()
    others_before = torch.arange(labels.shape[0], device=labels.device) - labelled_before
    spare = (rows - labelled.sum()).clamp(min=0)
    chosen = torch.where(labelled, labelled_before < rows, others_before < spare)
    index = torch.nonzero_static(chosen, size=rows).squeeze(1)
    targets = labels[index]
    return (
        index,
        torch.where(targets == IGNORED, IGNORED, targets - 1),
        torch.searchsorted(index, cu_seqlens).int(),
    )


OPERATORS = (select_labelled,)
