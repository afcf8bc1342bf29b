"""The 100 negatives of a user for sampled ranking: distinct items that the user never met, by popularity or uniformly."""

from __future__ import annotations

import numpy as np

from ..data import Sequences
from ..errors import InputError

NEGATIVES = 100


def draw_negatives(known: Sequences, weights: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """(users, 100) int64 item ids, in proportion to weights and without replacement, none among the user's known items.

    known: each user's items that are out. weights: (num_items + 1,), entry 0 is 0. Draws with replacement and keeps the first 100 distinct
    items that are allowed, which is drawing without replacement, and needs no memory that grows with users x items.
    Raises InputError where a user has fewer than 100 items left.
    """
    users, base = len(known), known.num_items + 1
    packed = known.pack()
    out = np.unique(packed.sequence_of_token().numpy() * base + packed.values.numpy())
    drawable = np.flatnonzero(weights)
    taken = np.bincount((out // base)[weights[out % base] > 0], minlength=users)
    if (len(drawable) - taken).min(initial=NEGATIVES) < NEGATIVES:
        raise InputError(f"a user has fewer than {NEGATIVES} items left as negatives: the catalogue is too small for this protocol")
    cumulative = np.cumsum(weights, dtype=np.float64)
    rows = np.arange(users)[:, None]
    keys = np.empty((users, 0), np.int64)
    draws = 2 * NEGATIVES
    while True:
        items = np.searchsorted(cumulative, generator.random((users, draws)) * cumulative[-1], side="right")
        keys = np.concatenate([keys, rows * base + items], axis=1)
        usable = ~np.isin(keys, out)
        usable &= _first_occurrence(keys)
        if users == 0 or usable.sum(1).min() >= NEGATIVES:
            break
        draws *= 2
    first = np.argsort(~usable, axis=1, kind="stable")[:, :NEGATIVES]
    return np.take_along_axis(keys, first, 1) - rows * base


def _first_occurrence(keys: np.ndarray) -> np.ndarray:
    """Where a key stands in its row for the first time."""
    order = np.argsort(keys, axis=1, kind="stable")
    sorted_keys = np.take_along_axis(keys, order, 1)
    new = np.ones_like(sorted_keys, dtype=bool)
    new[:, 1:] = sorted_keys[:, 1:] != sorted_keys[:, :-1]
    first = np.empty_like(new)
    np.put_along_axis(first, order, new, 1)
    return first
