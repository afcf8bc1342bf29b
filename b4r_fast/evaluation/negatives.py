"""The 100 negatives of a user for sampled ranking: distinct items that the user never met, by
popularity or uniformly.
"""

from __future__ import annotations

import numpy as np

from ..data import Sequences
from ..errors import InputError

NEGATIVES = 100
DRAWS = 4 * NEGATIVES  # of one round


def draw_negatives(
    known: Sequences, weights: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """(users, 100) int64 item ids, in proportion to weights and without replacement, none among the
    user's known items.

    known: each user's items that are out. weights: (num_items + 1,), entry 0 is 0. Draws with
    replacement and keeps the first 100 distinct items that are allowed, which is drawing without
    replacement, and needs no memory that grows with users x items. Whoever lacks some after one
    round, having seen most of what is popular, gets the rest by a race: item i arrives after Exp(1)
    / w_i, and the order of arrival follows the same law (Efraimidis and Spirakis 2006), however
    small the weights left are. Raises InputError where a user has fewer than 100 items left.
    """
    users, base = len(known), known.num_items + 1
    packed = known.pack()
    out = np.unique(packed.sequence_of_token().numpy() * base + packed.values.numpy())
    drawable = np.flatnonzero(weights)
    taken = np.bincount((out // base)[weights[out % base] > 0], minlength=users)
    if (len(drawable) - taken).min(initial=NEGATIVES) < NEGATIVES:
        raise InputError(
            f"a user has fewer than {NEGATIVES} items left as negatives: the catalogue is too"
            " small for this protocol"
        )
    cumulative = np.cumsum(weights, dtype=np.float64)
    rows = np.arange(users)[:, None]
    items = np.searchsorted(
        cumulative, generator.random((users, DRAWS)) * cumulative[-1], side="right"
    )
    keys = rows * base + items
    usable = ~np.isin(keys, out) & _first_occurrence(keys)
    first = np.argsort(~usable, axis=1, kind="stable")[:, :NEGATIVES]
    negatives = np.take_along_axis(items, first, 1)
    found = usable.sum(1)
    for user in np.flatnonzero(found < NEGATIVES).tolist():
        left = weights.astype(np.float64)
        left[known[user]] = 0
        left[negatives[user, : found[user]]] = 0
        with np.errstate(divide="ignore"):
            arrival = generator.standard_exponential(base) / left
        lacking = NEGATIVES - found[user]
        negatives[user, found[user] :] = np.argpartition(arrival, lacking - 1)[:lacking]
    return negatives


def _first_occurrence(keys: np.ndarray) -> np.ndarray:
    """Where a key stands in its row for the first time."""
    order = np.argsort(keys, axis=1, kind="stable")
    sorted_keys = np.take_along_axis(keys, order, 1)
    new = np.ones_like(sorted_keys, dtype=bool)
    new[:, 1:] = sorted_keys[:, 1:] != sorted_keys[:, :-1]
    first = np.empty_like(new)
    np.put_along_axis(first, order, new, 1)
    return first
