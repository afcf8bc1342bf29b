"""Where the items start: vectors that know which items stand near each other.

Levy and Goldberg (2014): a factor of the positive pointwise mutual information of items and their
neighbours holds what word2vec learns.

    PPMI_ij = max(0, log(n_ij / (n_i q_j))),    q_j = n_j^0.75 / sum_k n_k^0.75

with n_ij the pairs of items i and j at a distance of up to REACH in a history, 1 / distance each,
and n_i = sum_j n_ij. Of its singular vectors and values U S the vectors are U S^0.5, turned at
random, as single directions mean nothing to a transformer.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..data import Sequences

REACH = 5  # items
CONTEXT_POWER = 0.75
# Of the newest actions: ten pairs each at most, 20 bytes each while they are counted.
ACTIONS = 4_000_000
OVERSAMPLING, ITERATIONS = 16, 4  # of the randomised factorisation (Halko et al. 2011)


def neighbour_vectors(sequences: Sequences, size: int, seed: int) -> Tensor:
    """(num_items, size) fp32; row r is item r + 1. An item without a neighbour has a row of 0.

    Memory grows with the pairs of at most ACTIONS actions, not with items x items.
    """
    ppmi = _ppmi(*_pairs(_newest(sequences)), sequences.num_items)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        width = min(size + OVERSAMPLING, sequences.num_items)
        u, s, _ = torch.svd_lowrank(ppmi, q=width, niter=ITERATIONS)
        turn = torch.linalg.qr(torch.randn(size, size)).Q
    known = min(size, width)
    return (u[:, :known] * s[:known].sqrt()) @ turn[:known]


def _newest(sequences: Sequences) -> Sequences:
    """Cut to histories of as many of the newest items as all may have without being too many."""
    lengths = sequences.lengths
    if lengths.sum() <= ACTIONS:
        return sequences
    most = max(2, ACTIONS // len(sequences))
    users = np.arange(len(sequences))[:: -(-2 * len(sequences) // ACTIONS)]
    kept = sequences.select(users)
    return Sequences(
        kept.values, np.maximum(kept.starts, kept.ends - most), kept.ends, kept.num_items
    )


def _pairs(sequences: Sequences) -> tuple[np.ndarray, np.ndarray]:
    """(pairs,) int64: item i times num_items plus item j, each once; and n_ij."""
    items = sequences.pack().values.numpy() - 1
    owner = np.repeat(np.arange(len(sequences)), sequences.lengths)
    keys: np.ndarray = np.empty(0, np.int64)
    counts: np.ndarray = np.empty(0, np.float64)
    for distance in range(1, REACH + 1):
        together = owner[distance:] == owner[:-distance]
        first, second = items[:-distance][together], items[distance:][together]
        both = [first * sequences.num_items + second, second * sequences.num_items + first]
        weights = np.full(2 * len(first), 1 / distance)
        keys, place = np.unique(np.concatenate((keys, *both)), return_inverse=True)
        counts = np.bincount(place, np.concatenate((counts, weights)), len(keys))
    return keys, counts


def _ppmi(keys: np.ndarray, counts: np.ndarray, num_items: int) -> Tensor:
    """(num_items, num_items), sparse."""
    row, column = keys // num_items, keys % num_items
    of_item = np.bincount(row, counts, num_items)
    context = of_item**CONTEXT_POWER
    context /= max(context.sum(), 1.0)
    values = np.log(counts / (of_item[row] * context[column]))
    kept = values > 0
    return torch.sparse_coo_tensor(
        torch.from_numpy(np.stack((row[kept], column[kept]))),
        torch.from_numpy(values[kept]).float(),
        (num_items, num_items),
        is_coalesced=True,
        check_invariants=False,
    )
