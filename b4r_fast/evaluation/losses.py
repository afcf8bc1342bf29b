"""The losses of held-out items: over the whole catalogue, and as the model trains on it."""

from __future__ import annotations

import torch

from .. import ops
from ..data import LeaveOneOut
from ..model import BERT4Rec
from .protocols import in_parts

# So many users at most, evenly spread: their mean is good to some 0.03, and takes bounded time.
LOSS_USERS = 4096


@torch.no_grad()
def held_out_losses(model: BERT4Rec, split: LeaveOneOut, stage: str) -> dict[str, float]:
    """The mean loss of a stage's items, without dropout: "full", and "sampled" too where the model
    trains on that, with the same negatives at every call. stage: as in rank_held_out.
    """
    sums: dict[str, float] = {}
    users = split.users[:: -(-len(split.users) // LOSS_USERS)]
    for place, part in in_parts(users):
        hidden = model.encode(split.histories(stage, part).pack())
        targets = torch.from_numpy(split.targets(stage, part)).to(hidden.device) - 1
        losses = {
            "full": ops.softmax_loss(hidden, model.item_embeddings, model.output_bias, targets)
        }
        if model.config.loss == "sampled":
            losses["sampled"] = model.loss(
                hidden, targets, seed=torch.tensor(place, device=hidden.device)
            )
        for name, loss in losses.items():
            sums[name] = sums.get(name, 0.0) + float(loss) * len(part)
    return {name: total / len(users) for name, total in sums.items()}
