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
    "ema",
)
TOKENS = 1600  # of the windows of a batch, about
SAMPLED_ABOVE = 200_000  # items
GROW, LAST_ITEMS_FROM = 1 / 4, 1 / 13  # of the epochs


def auto_settings(
    train: Sequences,
    *,
    max_length: int | None = None,
    epochs: int = BEST.epochs,
    loss: str | None = None,
) -> TrainSettings:
    """The settings for these sequences, of what trains. max_length, epochs, loss: where they are
    settled already, as the others follow from them.

    MovieLens-1M, with 289 actions an item, is where a dropout of 0.1 was chosen, and
    MovieLens-100K, with 58, where one of 0.2 was; Beauty has 5, and does better the more there is.
    """
    lengths, items = train.lengths, train.num_items
    per_item = lengths.sum() / items
    if max_length is None:
        # The last item and [MASK] come to it when all is known.
        max_length = int(np.clip(np.quantile(lengths, 0.95) + 2, 20, 200))
    windows = np.minimum(lengths, max_length).mean()
    dropout = 0.1 if per_item > 200 else 0.2 if per_item > 40 else 0.5
    loss = loss or ("sampled" if items > SAMPLED_ABOVE else "full")
    sparse = loss == "sampled" and items > SAMPLED_ABOVE
    return replace(
        BEST,
        max_length=max_length,
        shortest_window=max(2, max_length // 10),
        batch_size=int(np.clip(TOKENS / windows, 16, 128)),
        hidden_dropout=dropout,
        attention_dropout=dropout,
        loss=loss,
        sparse_gradients=sparse,
        # A mean takes all rows of the table, whatever a step names.
        ema=0.0 if sparse else BEST.ema,
        epochs=epochs,
        grow_epochs=round(GROW * epochs),
        last_items_from=round(LAST_ITEMS_FROM * epochs),
    )
