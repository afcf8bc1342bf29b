"""The preset auto: the recipe of docs/accuracy.md at the size of the data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..data import Sequences
from .settings import BEST, TrainSettings

AUTO = "auto"
BY_THE_DATA = (
    "max_length",
    "shortest_window",
    "batch_size",
    "hidden_dropout",
    "attention_dropout",
    "loss",
    "sparse_gradients",
)
TOKENS = 1600  # of the windows of a batch, about
SAMPLED_ABOVE = 200_000  # items


def auto_settings(train: Sequences) -> TrainSettings:
    """The settings for these sequences.

    Chosen on the validation items of MovieLens-100K, MovieLens-1M and Beauty, which have 106, 164
    and 9 actions a user and 74, 291 and 16 an item; for other data what is known of the nearest.
    """
    lengths, items = train.lengths, train.num_items
    per_item = lengths.sum() / items
    max_length = int(np.clip(np.quantile(lengths, 0.95), 20, 200))
    windows = np.minimum(lengths, max_length).mean()
    dropout = 0.1 if per_item > 200 else 0.2 if per_item > 40 else 0.4
    sampled = items > SAMPLED_ABOVE
    return replace(
        BEST,
        max_length=max_length,
        shortest_window=max(2, max_length // 10),
        batch_size=int(np.clip(TOKENS / windows, 16, 128)),
        hidden_dropout=dropout,
        attention_dropout=dropout,
        loss="sampled" if sampled else "full",
        sparse_gradients=sampled,
    )
