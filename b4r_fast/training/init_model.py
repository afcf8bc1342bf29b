"""All of a model's weights, from the model of another run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ..data import PreparedData
from ..errors import InputError
from ..model import BERT4Rec
from .origin import items_of
from .settings import RunFile, shape_of

TABLE, OF_ITEMS = "item_embedding.weight", ("output_embedding.weight", "output_bias")
COUNTS = "item_counts"  # of the data that is trained on


def init_model(model: BERT4Rec, run: Path, data: PreparedData) -> None:
    """Write the run's weights into the model; items that the run does not know keep their random
    start. Raises InputError for a run whose model has another shape, or none of the items.
    """
    for name, theirs in shape_of(run).items():
        if (ours := getattr(model.config, name)) != theirs:
            raise InputError(f"`{name}` is {theirs!r} in {run}, and this model has {ours!r}")
    found = items_of(run, RunFile.read(run), data)
    numbers = np.arange(1, model.config.num_items + 1) if found is None else found
    known = torch.from_numpy(numbers > 0)
    rows = torch.from_numpy(numbers[numbers > 0]) - 1
    weights, trained = model.state_dict(), BERT4Rec.from_pretrained(run).state_dict()
    for name, value in trained.items():
        if name == TABLE:  # with padding and [MASK]
            weights[name][[0, -1]] = value[[0, -1]]
            weights[name][1:-1][known] = value[1:-1][rows]
        elif name in OF_ITEMS:
            weights[name][known] = value[rows]
        elif name != COUNTS:
            weights[name].copy_(value)
