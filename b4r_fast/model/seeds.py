"""The seeds of one training step: one for each op that drops or samples, all of them following from
the step's own.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# The golden ratio in 64 bits, as a signed number: seeds of the ops of one step are this far apart.
SEED_STEP = 0x9E3779B97F4A7C15 - (1 << 64)


class LayerSeeds(NamedTuple):
    """int64 scalars for a layer's attention, and for the end of each of its two sublayers."""

    attention: Tensor
    residual: Tensor
    ffn: Tensor


class StepSeeds(NamedTuple):
    """int64 scalars for the embedding, each of the layers, and the negatives: in this order they
    are SEED_STEP apart.
    """

    embedding: Tensor
    layers: list[LayerSeeds]
    negatives: Tensor

    @classmethod
    def of(cls, seed: Tensor, num_layers: int) -> StepSeeds:
        """seed: int64 scalar. Nothing is read back from its device, so a step can be recorded.

        How far they are apart is no state of the model: what stands in a buffer would be averaged
        with the weights, or be whatever memory held after to_empty.
        """
        places = torch.arange(2 + 3 * num_layers, device=seed.device)
        embedding, *each, negatives = torch.add(seed, places, alpha=SEED_STEP).unbind()
        return cls(
            embedding,
            [LayerSeeds(*seeds) for seeds in zip(each[0::3], each[1::3], each[2::3])],
            negatives,
        )
