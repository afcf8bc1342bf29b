"""An attention that begins by handing on what it reads.

With the paper's small random weights a [MASK] knows nothing of the history at first, and on few
actions the item table learns the training histories by heart before the layers learn to read. Here
the projections of values and of the output undo each other, W_o = W_v^T orthogonal, so that at
first [MASK] gets the mean of the (normalised) vectors of the history, and next to items that start
as neighbours the model begins as one that ranks by likeness.
"""

from __future__ import annotations

import torch

from ..model import BERT4Rec


def identity_values(model: BERT4Rec, seed: int) -> None:
    """Of the first layer, which reads the item vectors; the others stay as they are."""
    d = model.config.hidden_size
    generator = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(d, d, generator=generator)).Q
    weights = model.state_dict()
    weights["layers.0.qkv.weight"][2 * d :] = turn
    weights["layers.0.attention_output.weight"].copy_(turn.T)
