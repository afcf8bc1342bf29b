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
    """int64 scalars for a layer's attention, the end of each of its two sublayers, the activation
    of its feed-forward network, and what leaves it.
    """

    attention: Tensor
    residual: Tensor
    ffn: Tensor
    activation: Tensor
    output: Tensor


class StepSeeds(NamedTuple):
    """int64 scalars for the embedding, the first three of each of the layers, the negatives, and
    the other two of each: in this order they are SEED_STEP apart.
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
        places = torch.arange(2 + 5 * num_layers, device=seed.device)
        embedding, *others = torch.add(seed, places, alpha=SEED_STEP).unbind()
        first, negatives = others[: 3 * num_layers], others[3 * num_layers]
        last = others[3 * num_layers + 1 :]
        layers = [
            LayerSeeds(*first[3 * i : 3 * i + 3], *last[2 * i : 2 * i + 2])
            for i in range(num_layers)
        ]
        return cls(embedding, layers, negatives)
